//! What one call leaves for the next. The bridge itself remembers nothing: the host hands back the settings with each
//! request, and the instance also after a crash, when there may be no settings any more.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use workmux_plugin_api::{Context, Error, ErrorKind, Instance, Refusal, Result};

use crate::declaration::Declaration;
use crate::executable::Executable;
use crate::trust;

/// The table `sandbox.bridge`.
pub(crate) struct Table {
    pub(crate) executable: Executable,
    /// The program's own.
    pub(crate) settings: Value,
}

/// A program that has said what it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) executable: Executable,
    pub(crate) declared: Declaration,
}

/// The value of our settings.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Carried {
    pub(crate) program: Program,
    /// The program's own.
    pub(crate) settings: Value,
}

/// The state of our instances.
#[derive(Serialize, Deserialize)]
struct Signed {
    program: Program,
    /// The program's own.
    state: Value,
}

impl Table {
    pub(crate) fn read(user: &Value) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Keys {
            executable: Option<PathBuf>,
            timeout: Option<u64>,
            settings: Option<Map<String, Value>>,
        }
        let refusal = |key: &str, reason: String| Refusal { key: key.into(), reason };
        let keys = Keys::deserialize(user).map_err(|e| refusal("", e.to_string()))?;
        let Some(path) = keys.executable else {
            return Err(refusal("executable", "is not set: it is the absolute path of the program to ask".into()));
        };
        trust::look(&path).map_err(|why| refusal("executable", why))?;
        let executable = Executable { path, timeout: keys.timeout };
        Ok(Self { executable, settings: keys.settings.unwrap_or_default().into() })
    }
}

impl Carried {
    pub(crate) fn read(settings: &Value) -> Result<Self> {
        Self::deserialize(settings).map_err(|e| {
            Error::new(ErrorKind::InvalidSettings, "the settings of this backend cannot be read").cause(e.to_string())
        })
    }

    pub(crate) fn into_value(self) -> Result<Value> {
        serde_json::to_value(self).map_err(|e| Error::internal("cannot write settings").cause(e.to_string()))
    }
}

impl Program {
    /// The program that prepared the instance. Instance and settings become what is the program's own in them.
    pub(crate) fn of(instance: &mut Instance, settings: &mut Value) -> Result<Self> {
        let Signed { program, state } = Signed::deserialize(&instance.state)
            .map_err(|e| Error::internal("the recorded state of the sandbox cannot be read").cause(e.to_string()))?;
        instance.state = state;
        if !settings.is_null() {
            *settings = Carried::read(settings)?.settings;
        }
        Ok(program)
    }

    /// Writes into the instance who prepared it.
    pub(crate) fn sign(self, instance: &mut Instance) -> Result<()> {
        let signed = Signed { program: self, state: instance.state.take() };
        instance.state = serde_json::to_value(signed)
            .map_err(|e| Error::internal("cannot write the state of the sandbox").cause(e.to_string()))?;
        Ok(())
    }

    pub(crate) async fn ask<Q, A>(&self, cx: &Context, verb: &str, request: &Q) -> Result<A>
    where
        Q: Serialize + Sync,
        A: DeserializeOwned + Send,
    {
        self.executable.ask(cx, verb, request).await
    }

    /// A verb that programs need not have: `None` where this one has not declared it.
    pub(crate) async fn ask_if_known<Q, A>(&self, cx: &Context, verb: &str, request: &Q) -> Result<Option<A>>
    where
        Q: Serialize + Sync,
        A: DeserializeOwned + Send,
    {
        if self.declared.knows(verb) { self.ask(cx, verb, request).await.map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn program() -> Program {
        let declared = json!({"protocol": "0.1", "isolation": "vm", "features": {"mounts": true}});
        Program {
            executable: Executable { path: "/p".into(), timeout: Some(3) },
            declared: Declaration::deserialize(declared).unwrap(),
        }
    }

    #[test]
    fn an_instance_knows_its_program_when_the_settings_are_gone() {
        let mut instance = Instance { state: json!([1]), ..Instance::default() };
        program().sign(&mut instance).unwrap();
        let mut settings = Value::Null;
        let found = Program::of(&mut instance, &mut settings).unwrap();
        assert_eq!((found.executable.path, settings), ("/p".into(), Value::Null));
        assert_eq!(instance.state, json!([1]));
        let mut settings = Carried { program: program(), settings: json!({"a": 1}) }.into_value().unwrap();
        program().sign(&mut instance).unwrap();
        Program::of(&mut instance, &mut settings).unwrap();
        assert_eq!(settings, json!({"a": 1}));
        assert!(Program::of(&mut Instance::default(), &mut settings).is_err());
    }
}
