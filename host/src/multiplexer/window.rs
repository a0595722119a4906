//! The window of one run, as the supervisor sees it: shows what can be shown and says why not otherwise (P54).

use std::sync::{Arc, Mutex, PoisonError};

use super::{Icons, Location, Multiplexer, MultiplexerError, Pane, Status, Title, Tmux};

/// Whether something could be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Shown {
    /// It is there.
    Yes,
    /// Nothing was changed; for the record, why.
    No(String),
}

/// The window a run was started in, if it was started in one. Clones are the same window.
#[derive(Clone)]
pub struct RunWindow {
    place: Result<Arc<Place>, String>,
}

struct Place {
    multiplexer: Box<dyn Multiplexer>,
    pane: Pane,
    icons: Icons,
    in_status_line: bool,
    /// One change at a time, in the order they were asked for.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The status line was seen to.
    prepared: bool,
    /// An icon of ours may stand there.
    shows_icon: bool,
}

impl RunWindow {
    /// Looks the pane up. `in_status_line` = the user's `status_format`.
    pub async fn find(location: Result<Location, String>, icons: Icons, in_status_line: bool) -> Self {
        let find = move || {
            let location = location?;
            let tmux = Tmux::new(&location);
            let pane = tmux.pane(&location.pane).map_err(|e| e.to_string())?;
            let place = Place { multiplexer: Box::new(tmux), pane, icons, in_status_line, state: Mutex::default() };
            Ok(Arc::new(place))
        };
        Self { place: tokio::task::spawn_blocking(find).await.unwrap_or_else(|e| Err(e.to_string())) }
    }

    /// Shows a status.
    pub async fn set_status(&self, status: Status) -> Shown {
        self.change(move |place, state| place.set_status(status, state)).await
    }

    /// Names the window.
    pub async fn set_title(&self, title: Title) -> Shown {
        self.change(move |place, _| place.multiplexer.name_window(&place.pane, &title)).await
    }

    /// Takes the icon away at the end of a run; a title stays.
    pub async fn clear(&self) -> Shown {
        self.change(|place, state| if state.shows_icon { place.set_status(Status::Clear, state) } else { Ok(()) }).await
    }

    async fn change<F>(&self, change: F) -> Shown
    where
        F: FnOnce(&Place, &mut State) -> Result<(), MultiplexerError> + Send + 'static,
    {
        let place = match &self.place {
            Ok(place) => place.clone(),
            Err(why) => return Shown::No(why.clone()),
        };
        let changed = tokio::task::spawn_blocking(move || {
            let mut state = place.state.lock().unwrap_or_else(PoisonError::into_inner);
            change(&place, &mut state).map_err(|e| e.to_string())
        });
        match changed.await {
            Ok(Ok(())) => Shown::Yes,
            Ok(Err(why)) => Shown::No(why),
            Err(panicked) => Shown::No(panicked.to_string()),
        }
    }
}

impl Place {
    fn set_status(&self, status: Status, state: &mut State) -> Result<(), MultiplexerError> {
        let Some(icon) = self.icons.of(status) else {
            self.multiplexer.clear_icon(&self.pane)?;
            state.shows_icon = false;
            return Ok(());
        };
        if self.in_status_line && !state.prepared {
            self.multiplexer.show_icons_in_status_line(&self.pane)?;
            state.prepared = true;
        }
        state.shows_icon = true;
        self.multiplexer.show_icon(&self.pane, icon, status.until_seen())
    }
}
