//! Agents: the same session over documents, hundreds of them in one store.

use std::collections::BTreeMap;

use ckptdb::Event;
use serde_json::json;

use super::{every, none, store};

const AGENTS: u64 = 300;
const TURNS: u64 = 25;
const THREADS: u64 = 4;

fn turn(agent: u64, turn: u64) -> BTreeMap<&'static str, serde_json::Value> {
    let said = |n| json!({"role": "user", "content": format!("agent {agent}, turn {n}")});
    let conversation: Vec<_> = (1..=turn).map(said).collect();
    BTreeMap::from([
        ("conversation", json!(conversation)),
        ("memory", json!({"facts": [agent, turn]})),
        ("plan", json!(["look", "think", "act"])),
        ("budget", json!({"tokens": 100_000 - turn * 137})),
    ])
}

/// One agent in seven fails in its last turn.
fn fails(agent: u64) -> bool {
    agent.is_multiple_of(7)
}

fn live(store: &ckptdb::Store, agent: u64) {
    let job = store.job(&format!("agent/{agent}")).unwrap();
    let mut session = job.session(every(1)).unwrap();
    for step in 1..TURNS {
        let documents = turn(agent, step);
        let done = session.step(step, &none(), |mut save| {
            for (name, value) in &documents {
                save = save.document(name, value);
            }
            save
        });
        assert_eq!(done.problems, []);
    }
    let documents = turn(agent, TURNS);
    let fill = |mut save: ckptdb::Save<'static>| {
        for (name, value) in &documents {
            save = save.document(name, value);
        }
        save
    };
    if fails(agent) {
        session.fail(TURNS, "the tool does not answer", fill);
    } else {
        session.finish(TURNS, &none(), fill);
    }
}

#[test]
fn three_hundred_agents_save_every_turn_and_every_state_loads_back() {
    let (store, _, _) = store();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = store.clone();
            scope.spawn(move || {
                (0..AGENTS)
                    .filter(|agent| agent % THREADS == thread)
                    .for_each(|agent| live(&store, agent));
            });
        }
    });
    let mut states = 0;
    for agent in 0..AGENTS {
        let job = store.job(&format!("agent/{agent}")).unwrap();
        for checkpoint in job.list().unwrap() {
            let checkpoint = checkpoint.unwrap();
            for (name, value) in turn(agent, checkpoint.iteration) {
                assert_eq!(checkpoint.document(name).unwrap(), value);
            }
            states += 1;
        }
        let sessions = job.sessions().unwrap();
        let head = job.latest().unwrap().unwrap();
        if fails(agent) {
            assert_eq!(sessions.failed, 1);
            assert!(head.events.contains(&Event::Custom("failed".into())));
        } else {
            assert_eq!(sessions.completed, 1);
            assert!(head.events.contains(&Event::Final));
        }
    }
    assert_eq!(states, AGENTS * TURNS);
}
