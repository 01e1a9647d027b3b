//! Who owns an engine object, and its removal.
//!
//! | file | what it does |
//! |---|---|
//! | `labels` | the labels of our objects, and which of them make an object a leftover |
//! | `active` | ids whose objects the reaper leaves alone |
//! | `fill` | names and removal of a volume that is being filled |
//! | `owned` | all objects of one run |
//! | `removal` | guards that own objects, and the threads that remove them |
//! | `engine` | client, identity and removal, which every create call needs |
//! | `reaper` | finds and removes leftovers, periodically |

pub(crate) mod active;
pub(crate) mod engine;
pub(crate) mod fill;
pub(crate) mod labels;
pub(crate) mod owned;
pub(crate) mod reaper;
pub(crate) mod removal;
