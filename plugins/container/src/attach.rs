//! A further command in a container that runs.

use workmux_plugin_api::{AttachRequest, Context, Plan, Result};

use crate::arguments;
use crate::sandbox::Sandbox;

/// Answers how. Whether the container still runs shows when the engine is asked.
pub(crate) fn plan(cx: &Context, request: &AttachRequest) -> Result<Plan> {
    let sandbox = Sandbox::from_state(&request.instance.state)?;
    Ok(Plan {
        program: sandbox.engine.program(cx)?,
        args: arguments::exec(&sandbox, &request.instance.name, &request.command, request.terminal),
        controls_terminal: request.terminal,
        explains_itself: true,
        ..Plan::default()
    })
}
