//! Who owns an engine object, and its removal.
//!
//! | file | what it does |
//! |---|---|
//! | `labels` | the labels and names of our objects |
//! | `owners` | which of the processes that own objects are dead |
//! | `verdict` | which objects are leftovers; pure |
//! | `active` | ids whose objects the reaper leaves alone |
//! | `fill` | names and removal of a volume that is being filled |
//! | `owned` | all objects of one run |
//! | `removal` | guards that own objects, and the threads that remove them |
//! | `engine` | client, identity and removal, which every create call needs |
//! | `reaper` | finds and removes leftovers |

pub(crate) mod active;
pub(crate) mod engine;
pub(crate) mod fill;
pub(crate) mod labels;
pub(crate) mod owned;
pub(crate) mod owners;
pub(crate) mod reaper;
pub(crate) mod removal;
pub(crate) mod verdict;
