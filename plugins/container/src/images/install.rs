//! `install-dev`: a thin image over the configured one, under the same name, with another guest program.

use std::path::Path;

use workmux_plugin_api::{Context, Installed, Result};

use super::Wanted;
use super::build::Stage;
use super::freshness::Local;

/// On an image with a development build; the identity of the image below it.
pub(super) const DEV: &str = "workmux.dev";

/// Lays it over the image, if that is here.
pub(super) async fn install(cx: &Context, wanted: &Wanted, program: &Path) -> Result<Vec<Installed>> {
    let image = wanted.image.name.as_str();
    let Some(found) = Local::find(cx, wanted.engine, image).await? else { return Ok(Vec::new()) };
    // Laid over the image below the last one, so that images do not grow with each time.
    let below = match found.label(DEV) {
        Some(below) if Local::find(cx, wanted.engine, below).await?.is_some() => below.to_owned(),
        _ => found.id,
    };
    let overlay = Stage {
        title: "overlay".to_owned(),
        text: text(&below),
        program: Some(program),
        tag: image,
        from: image,
        arguments: Vec::new(),
    };
    let outcome = overlay.build(cx, wanted, "1 of 1").await;
    Ok(vec![Installed { place: format!("image '{image}'"), outcome }])
}

/// The variable has the guest put the image's own program before the one that is mounted.
fn text(below: &str) -> String {
    format!("FROM {below}\nCOPY workmux /usr/local/bin/workmux\nENV WORKMUX_DEV=/usr/local/bin\nLABEL {DEV}={below}\n")
}
