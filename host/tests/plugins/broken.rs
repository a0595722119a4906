//! P73 and P75: files that are no usable library. Each costs itself only: the list goes on, the others load.

use object::{Object, ObjectSection, ObjectSymbol};
use workmux::plugins::{FindError, Registry, State};

use super::stage::{Stage, file_name, library, make_dir, write};

/// Changes one copy of the smallest backend.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut image = library("minimal");
    change(&mut image);
    image
}

/// Where a symbol's bytes stand in the file.
fn symbol(image: &[u8], name: &str) -> usize {
    let file = object::File::parse(image).unwrap();
    let symbol = file.dynamic_symbols().find(|s| s.name() == Ok(name)).unwrap();
    let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
    (section.file_range().unwrap().0 + symbol.address() - section.address()) as usize
}

fn section(image: &[u8], name: &str) -> std::ops::Range<usize> {
    let (start, size) = object::File::parse(image).unwrap().section_by_name(name).unwrap().file_range().unwrap();
    start as usize..(start + size) as usize
}

/// Replaces a text of the string table by one of the same length.
fn rename(image: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let table = section(image, ".dynstr");
    let at = image[table.clone()].windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
    image[table.start + at..][..to.len()].copy_from_slice(to.as_bytes());
}

/// What finding the broken one says; checks that nothing else suffers.
fn verdict(stage: &Stage) -> String {
    stage.install("hostile");
    let registry = Registry::new(stage.environment());
    let listed = registry.all();
    assert_eq!(listed.iter().filter(|l| l.name == "hostile" && l.state == State::Winner).count(), 1);
    registry.find("hostile").unwrap();
    match registry.find("minimal") {
        Ok(backend) => format!("used: {}", backend.name()),
        Err(FindError::Unusable { why, .. }) => why.reason,
        Err(other) => panic!("{other}"),
    }
}

fn verdict_on(image: &[u8]) -> String {
    let stage = Stage::new();
    write(&stage.at("lib/workmux/plugins").join(file_name("minimal")), image);
    verdict(&stage)
}

#[test]
fn p73_a_truncated_library() {
    let whole = library("minimal");
    for percent in [1, 5, 10, 25, 50, 75, 90, 95, 99] {
        let length = whole.len() * percent / 100;
        assert_eq!(verdict_on(&whole[..length]), format!("it is cut short ({length} bytes)"), "{percent} %");
    }
    for length in [1, 3] {
        assert_eq!(verdict_on(&whole[..length]), "it is not a shared library");
    }
    assert_eq!(verdict_on(&whole[..40]), "it is cut short (40 bytes)");
    assert_eq!(verdict_on(&whole), "used: minimal");
}

#[test]
fn p73_what_is_no_library_at_all() {
    assert_eq!(verdict_on(b""), "it is empty");
    assert_eq!(verdict_on(b"just text\n"), "it is not a shared library");
    assert_eq!(verdict_on(&[0; 4096]), "it is not a shared library");
    let program = std::fs::read("/bin/sh").unwrap();
    assert_eq!(verdict_on(&program), "it is not a workmux backend: it has no manifest inside");

    let stage = Stage::new();
    make_dir(&stage.at("lib/workmux/plugins").join(file_name("minimal")));
    assert_eq!(verdict(&stage), "it is a directory");
    let stage = Stage::new();
    std::os::unix::fs::symlink("nowhere", stage.at("lib/workmux/plugins").join(file_name("minimal"))).unwrap();
    assert!(verdict(&stage).contains("does not exist"));
}

#[test]
fn p73_a_library_for_another_machine() {
    assert_eq!(verdict_on(&changed(|image| image[18] = 40)), "it was built for another processor");
    assert_eq!(verdict_on(&changed(|image| image[4] = 1)), "it was built for another processor");
    assert_eq!(verdict_on(&changed(|image| image[5] = 2)), "it was built for another processor");
    assert_eq!(verdict_on(&changed(|image| image[16] = 2)), "it is not a shared library");
    assert_eq!(verdict_on(&changed(|image| image[16] = 4)), "it is not a shared library");
}

#[test]
fn p73_a_damaged_library_dies_in_a_child() {
    for part in [".dynsym", ".dynstr", ".gnu.hash", ".rela.dyn", ".dynamic", ".data.rel.ro"] {
        let said = verdict_on(&changed(|image| {
            let range = section(image, part);
            image[range].iter_mut().for_each(|byte| *byte ^= 0x5a);
        }));
        assert!(!said.starts_with("used"), "{part}: {said}");
    }
    // One byte in fifty, everywhere behind the headers.
    for seed in 1..=8_u64 {
        let said = verdict_on(&changed(|image| {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for byte in &mut image[0x1000..] {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                if state.is_multiple_of(50) {
                    *byte ^= (state >> 32) as u8 | 1;
                }
            }
        }));
        assert!(!said.starts_with("used"), "{seed}: {said}");
    }
}

#[test]
fn p73_a_library_that_lacks_something() {
    let lacks = |from: &'static str, to: &'static str| verdict_on(&changed(|image| rename(image, from, to)));
    let missing = lacks("WORKMUX_BACKEND_V0", "WORKMUX_BACKEND_V9");
    assert!(missing.contains("does not export 'WORKMUX_BACKEND_V0'"), "{missing}");
    let missing = lacks("WORKMUX_BACKEND_PROBE", "WORKMUX_BACKEND_PR0BE");
    assert!(missing.contains("does not export 'WORKMUX_BACKEND_PROBE'"), "{missing}");
    let missing = lacks("posix_memalign", "posix_memaligx");
    assert!(missing.contains("cannot be loaded") && missing.contains("posix_memaligx"), "{missing}");
    let missing = lacks("libgcc_s.so.1", "libgcx_s.so.1");
    assert!(missing.contains("cannot be loaded") && missing.contains("libgcx_s.so.1"), "{missing}");
}

#[test]
fn p73_a_header_that_is_not_ours() {
    let said = verdict_on(&changed(|image| {
        let at = symbol(image, "WORKMUX_BACKEND_V0");
        image[at..at + 16].fill(b'?');
    }));
    assert!(said.contains("its header was made by another version of abi_stable, or is damaged"), "{said}");
    for size in [0_u32, 4, u32::MAX] {
        let said = verdict_on(&changed(|image| {
            let at = symbol(image, "WORKMUX_BACKEND_PROBE");
            image[at..at + 4].copy_from_slice(&size.to_le_bytes());
        }));
        assert!(said.contains("impossible size"), "{said}");
    }
}

#[test]
fn p75_another_protocol_is_refused_by_the_probe() {
    for (major, minor) in [(0_u32, 0_u32), (0, 2), (1, 0), (7, 3)] {
        let said = verdict_on(&changed(|image| {
            let at = symbol(image, "WORKMUX_BACKEND_PROBE");
            image[at + 4..at + 8].copy_from_slice(&major.to_le_bytes());
            image[at + 8..at + 12].copy_from_slice(&minor.to_le_bytes());
        }));
        let ours = workmux_plugin_api::PROTOCOL;
        let words = format!("it was built for plugin protocol {major}.{minor}, this workmux speaks {ours}");
        assert!(said.contains(&words), "{said}");
    }
}

#[test]
fn p75_another_protocol_is_refused_by_the_manifest_without_loading() {
    let stage = Stage::new();
    let image = changed(|image| {
        let ours = format!("protocol = \"{}\"", workmux_plugin_api::PROTOCOL);
        let at = image.windows(ours.len()).position(|w| w == ours.as_bytes()).unwrap();
        image[at + 12] = b'8';
    });
    write(&stage.at("lib/workmux/plugins").join(file_name("minimal")), &image);
    let mut environment = stage.environment();
    environment.trial = ["/bin/false"].map(Into::into).to_vec();
    let registry = Registry::new(environment);
    let State::Rejected(why) = registry.all().remove(0).state else { panic!("it is used") };
    assert!(why.reason.contains("plugin protocol 8.") && why.reason.contains("speaks 0."), "{why}");
    let error = registry.find("minimal").unwrap_err();
    assert!(error.hint().unwrap().contains("update workmux"), "{error}");
}

#[test]
fn p73_nothing_of_others_is_read_to_find_one() {
    let stage = Stage::new();
    stage.install("minimal");
    let others = stage.at("lib/workmux/plugins");
    nix::unistd::mkfifo(&others.join(file_name("pipe")), nix::sys::stat::Mode::S_IRUSR).unwrap();
    write(&others.join(file_name("text")), b"text");
    let registry = Registry::new(stage.environment());
    registry.find("minimal").unwrap();
    let rejected = registry.all().into_iter().filter(|l| matches!(l.state, State::Rejected(_)));
    assert_eq!(rejected.map(|l| l.name).collect::<Vec<_>>(), ["pipe", "text"]);
}
