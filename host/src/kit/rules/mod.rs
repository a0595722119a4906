//! The rules, in their order. A number is never used again for something else; a rule that goes leaves a gap.

mod exec;
mod instances;
mod life;
mod sight;
mod start;

use super::Rule;

macro_rules! rules {
    ($($number:literal $claim:literal $check:path;)*) => {
        /// All of them.
        pub(super) const ALL: &[Rule] = &[$(Rule { number: $number, claim: $claim, check: $check }),*];
    };
}

rules! {
    "K101" "what it says of itself is what it can do once it is loaded" start::declares;
    "K102" "a key that its schema does not have is named, and never taken silently" start::unknown_key;
    "K201" "a dry run is the same each time, and leaves nothing" start::dry_run;
    "K202" "a command runs" start::runs;
    "K203" "a start that was ended at any moment leaves nothing" life::interrupted;
    "K301" "each byte of each word arrives" exec::words;
    "K302" "variables that are passed arrive, others do not" exec::variables;
    "K303" "the command starts in the directory where it was typed" exec::directory;
    "K304" "standard input, output and error are three, and every byte goes through" exec::streams;
    "K305" "each exit code comes back" exec::codes;
    "K306" "a death by signal comes back as 128 and the signal" exec::deaths;
    "K307" "a signal reaches the command, which may answer it" exec::signals;
    "K308" "what the command started ends with it" exec::leftovers;
    "K401" "what is written to the worktree is on the host" sight::writes;
    "K402" "a commit is on the host when the command has ended" sight::commits;
    "K403" "a mount that is read-only cannot be written" sight::read_only;
    "K404" "nothing of the host is seen but what was mounted" sight::secrets;
    "K405" "git's own files cannot be changed" sight::hooks;
    "K406" "without a network there is none, or the start is refused" sight::network;
    "K501" "two sandboxes at once know nothing of each other" life::together;
    "K502" "many starts leave no more than one" life::many;
    "K503" "with a killed workmux everything in the sandbox ends, and the next command works" life::killed;
    "K504" "what a killed run left can be taken away twice" life::released;
    "K601" "while a command runs, its instance is listed, once" instances::listed;
    "K602" "an instance can be stopped twice, and then does not run" instances::stopped;
    "K603" "an instance that runs is deleted by force alone, and can be twice" instances::deleted;
}
