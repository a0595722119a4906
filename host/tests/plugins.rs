//! Backends found, checked, loaded and called for real: the smallest one, and the one that is wrong on purpose.

#![allow(clippy::unwrap_used, reason = "a test")]

mod plugins {
    mod broken;
    mod called;
    mod crime;
    mod hostile;
    mod installing;
    #[cfg(feature = "mutants")]
    mod mutants;
    mod stage;
    mod trusted;

    /// The child in which libraries are tried; does nothing in an ordinary run. See [`stage::Stage::environment`].
    #[test]
    fn trial_child() {
        stage::be_the_trial_child();
    }

    /// The child in which a crime is committed; does nothing in an ordinary run. See [`crime::commit`].
    #[test]
    fn hostile_child() {
        crime::be_the_child();
    }
}
