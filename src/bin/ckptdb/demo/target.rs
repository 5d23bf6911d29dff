//! The file that the demo writes: a new one, or what an earlier demo left.

use ckptdb::{Error, Store};

use super::plan::Plan;
use super::worker::{JOB, MADE_BY};
use crate::failure::{Exit, Failure};

/// Makes an empty store for the plan. What is there already stays, unless the plan replaces it and
/// it is the store of an earlier demo: a mistyped path must not cost anybody their checkpoints.
pub(super) fn prepare(plan: &Plan) -> Result<(), Failure> {
    match Store::create_with(&plan.store, plan.options.clone()) {
        Ok(store) => {
            store.close();
            Ok(())
        }
        Err(Error::Exists { .. }) if plan.replaces => empty(plan),
        Err(error @ Error::Exists { .. }) => Err(Failure::from(error)
            .hint("--force replaces it if an earlier demo made it; --store PATH writes elsewhere")),
        Err(error) => Err(error.into()),
    }
}

/// Removes an earlier demo from its store.
fn empty(plan: &Plan) -> Result<(), Failure> {
    let path = &plan.store;
    let store = plan.open()?;
    for job in store.jobs()? {
        if job.name != JOB || !is_made_by_demo(&store)? {
            let message = format!("`{}` holds job `{}`", path.display(), job.name);
            return Err(Failure::new(Exit::Failed, message)
                .hint("the demo replaces only what a demo made; --store PATH writes elsewhere"));
        }
        store.delete_job(JOB)?;
    }
    store.reclaim(true)?;
    store.compact()?;
    store.close();
    Ok(())
}

/// Whether every checkpoint of the demo's job says that a demo saved it.
fn is_made_by_demo(store: &Store) -> Result<bool, Failure> {
    let (name, value) = MADE_BY;
    let expected = serde_json::Value::from(value).to_string();
    for checkpoint in store.job(JOB)?.list()? {
        if checkpoint?.attributes.get(name) != Some(&expected) {
            return Ok(false);
        }
    }
    Ok(true)
}
