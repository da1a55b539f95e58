//! The policy corpus against the evaluator alone: endpoints as each case resolves them, policies
//! from the manifests as they are.

mod corpus {
    pub(crate) mod case;
    pub(crate) mod verdicts;
}

use corpus::verdicts::Tally;

/// The folder of the corpus, if it is there.
fn root() -> Option<std::path::PathBuf> {
    let given = std::env::var_os("WHYFLOW_POLICY_CORPUS").map(std::path::PathBuf::from);
    let beside =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/policy-corpus");
    given.or(Some(beside)).filter(|root| root.is_dir())
}

#[test]
fn every_verdict_of_the_corpus_is_given() {
    let Some(root) = root() else {
        println!("no corpus here: set WHYFLOW_POLICY_CORPUS to its folder");
        return;
    };
    let mut failures = 0;
    for suite in corpus::case::folders(&root) {
        let mut tally = Tally::default();
        for folder in corpus::case::folders(&suite) {
            if !folder.join("expected.json").is_file() {
                continue;
            }
            let case = corpus::case::Case::open(&folder);
            tally.add(&case);
        }
        failures += tally.failed.len();
        tally.print(&suite);
    }
    assert_eq!(failures, 0);
}
