//! The sins any code can commit: panics, hangs, floods, and taking the process down.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use workmux_plugin_api::{Context, Level, Tool};

/// Whether this sin is wanted, wherever its place is.
pub(crate) fn sin(name: &str) -> bool {
    wish().is_some_and(|wish| wish.split('@').next() == Some(name))
}

/// Where the sin is to be committed.
pub(crate) fn place() -> Option<String> {
    wish()?.split_once('@').map(|(_, place)| place.to_owned())
}

fn wish() -> Option<String> {
    std::env::var("WORKMUX_HOSTILE").ok()
}

fn here(at: &str) -> bool {
    place().as_deref() == Some(at)
}

/// What synchronous code can do wrong.
pub(crate) fn commit(at: &str) -> Option<PanicsWhenDropped> {
    if !here(at) {
        return None;
    }
    match () {
        () if sin("panic") => panic!("hostile in {at}"),
        () if sin("panic-payload") => std::panic::panic_any(PanicsWhenDropped),
        () if sin("hang") => hang(),
        () if sin("exit") => std::process::exit(42),
        () if sin("abort") => std::process::abort(),
        () if sin("segv") => segv(),
        () if sin("overflow") => drop(overflow(0)),
        () if sin("panic-drop") => return Some(PanicsWhenDropped),
        () => {}
    }
    None
}

/// What a future can do wrong besides.
pub(crate) async fn commit_async(cx: &Context, at: &str) {
    let _panics_when_dropped = commit(at);
    if !here(at) {
        return;
    }
    match () {
        () if sin("panic-later") => {
            let _woken = cx.sleep(Duration::from_millis(1)).await;
            panic!("hostile in {at}, later");
        }
        () if sin("pending") => never(pending().await),
        () if sin("panic-cancel") => {
            let _guard = PanicsWhenDropped;
            never(pending().await)
        }
        () if sin("hang-cancel") => {
            let _guard = HangsWhenDropped;
            never(pending().await)
        }
        () if sin("flood") => {
            for i in 0..100_000 {
                cx.log(Level::Warning, format!("\x1b[31mline {i}\n{}", "x".repeat(2000)));
                cx.progress("\x07working", i, 100_000);
            }
        }
        () if sin("flood-forever") => loop {
            cx.progress("still at it", 0, 0);
            let _woken = cx.sleep(Duration::from_millis(20)).await;
        },
        () if sin("progress") => {
            for i in 0..15 {
                cx.progress("step", i, 15);
                let _woken = cx.sleep(Duration::from_millis(200)).await;
            }
        }
        () if sin("tool-hang") => {
            // Its process is ended with the call, also if this thread never looks again.
            let sleep = |seconds: &str| Tool { program: "sleep".into(), args: vec![seconds.into()], ..Tool::default() };
            let _output = cx.run(sleep("4321")).await;
        }
        () if sin("tool-many") => {
            let mut all = Vec::new();
            for _ in 0..100 {
                let tool = Tool { program: "sleep".into(), args: vec!["4321".into()], ..Tool::default() };
                all.push(Box::pin(async move { cx.run(tool).await }));
            }
            // Begin all of them; the first to answer is one that was refused.
            let first = std::future::poll_fn(move |task| {
                all.iter_mut()
                    .find_map(|tool| match tool.as_mut().poll(task) {
                        std::task::Poll::Ready(answer) => Some(answer),
                        std::task::Poll::Pending => None,
                    })
                    .map_or(std::task::Poll::Pending, std::task::Poll::Ready)
            });
            if let Err(e) = first.await {
                cx.log(Level::Warning, format!("refused: {e}"));
            }
        }
        () => {}
    }
}

fn never(never: Infallible) {
    match never {}
}

fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

#[expect(unsafe_code, reason = "the sin itself")]
fn segv() {
    // SAFETY: none; that is what it is for.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
}

#[expect(unconditional_recursion, reason = "the sin itself")]
fn overflow(depth: u64) -> u64 {
    let filler = std::hint::black_box([depth; 512]);
    overflow(depth + 1) + filler[0]
}

pub(crate) struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("hostile in a destructor");
        }
    }
}

struct HangsWhenDropped;

impl Drop for HangsWhenDropped {
    fn drop(&mut self) {
        hang();
    }
}
