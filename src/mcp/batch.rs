//! The bound on the answers of one batch: a request of 60 bytes may be answered with the whole list of tools.

use super::jsonrpc::{self, Code, Error, Id};
use serde_json::Value;

/// Most bytes of the answers that a batch gets at once. They are in memory together.
const LARGEST_ANSWERS: usize = 4 << 20;

/// What the answers of one batch may still take.
#[derive(Debug)]
pub(super) struct BatchBudget {
    left: usize,
}

impl BatchBudget {
    /// The whole budget.
    pub(super) fn new() -> Self {
        Self {
            left: LARGEST_ANSWERS,
        }
    }

    /// Whether the batch may have no more answers. Its remaining requests get [`BatchBudget::refusal`].
    pub(super) fn is_used_up(&self) -> bool {
        self.left == 0
    }

    /// Takes the answer's size from the budget. Returns the answer, or the refusal if it does not fit.
    pub(super) fn charge(&mut self, answer: Value) -> Value {
        match self.left.checked_sub(answer.to_string().len()) {
            Some(left) => {
                self.left = left;
                answer
            }
            None => {
                self.left = 0;
                jsonrpc::failed_response(&answer, &error())
            }
        }
    }

    /// The response to a request that was not served because the budget is used up.
    pub(super) fn refusal(id: &Id) -> Value {
        jsonrpc::response(id, Err(error()))
    }
}

fn error() -> Error {
    let what = format!(
        "the answers of this batch have more than {LARGEST_ANSWERS} bytes together; send this request in another"
    );
    Error::new(Code::Internal, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_beyond_the_budget_are_replaced_by_an_error_with_their_id() {
        let mut budget = BatchBudget::new();
        let answer = |id: u64, size: usize| json!({"id": id, "result": "x".repeat(size)});
        let first = answer(1, LARGEST_ANSWERS - 100);
        assert_eq!(budget.charge(first.clone()), first);
        assert!(!budget.is_used_up());
        let second = budget.charge(answer(2, 1000));
        assert_eq!(second["id"], 2);
        assert_eq!(second["error"]["code"], -32603);
        assert!(budget.is_used_up());
        assert_eq!(BatchBudget::refusal(&Id::Text("c".into()))["id"], "c");
    }
}
