//! `log`: where checkpoints came from.

use ckptdb::Store;

use super::Stored;

#[test]
fn a_graph_shows_forks_rollbacks_and_what_they_left_behind() {
    let stored = Stored::new();
    let store = Store::open(stored.path()).unwrap();
    let job = store.job("vit").unwrap();
    let at = |iteration| job.at(iteration).unwrap().unwrap();
    job.rollback(at(2).id, "it went wrong").unwrap();
    job.save(4).bytes("weights", b"other").commit().unwrap();
    at(4).fork("fine-tune").unwrap();
    let fork = store.job("fine-tune").unwrap();
    fork.save(9).bytes("weights", b"tuned").commit().unwrap();
    at(1).delete(true).unwrap();
    drop((job, fork, store));
    let said = stored.run(&["log", "--graph"]);
    assert_eq!(said.code(), 0);
    let drawn: Vec<String> = said
        .text()
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split("  ").collect();
            words.iter().take(2).copied().collect::<Vec<_>>().join("  ")
        })
        .collect();
    let expected = [
        "@  fine-tune@9",
        "*  fine-tune@4",
        "@  vit@4",
        "| o  vit@3",
        "|/",
        "*  vit@2",
    ];
    assert_eq!(drawn, expected, "{}", said.text());
    assert!(said.text().contains("forked from id:"), "{}", said.text());
    assert!(said.text().contains("before it is gone"), "{}", said.text());
    assert!(said.text().contains("abandoned"), "{}", said.text());
    let said = stored.run(&["log", "vit", "--json"]).json();
    assert_eq!(said["schema"], "ckptdb.log/1");
    let checkpoints = said["checkpoints"].as_array().unwrap();
    let iterations: Vec<u64> = checkpoints
        .iter()
        .map(|c| c["iteration"].as_u64().unwrap())
        .collect();
    assert_eq!(iterations, [4, 3, 2]);
    let second = checkpoints[2]["id"].clone();
    assert!(
        checkpoints[..2]
            .iter()
            .all(|found| found["continues"] == second)
    );
    let said = stored.run(&["log", "vit", "--limit", "1"]);
    assert!(said.text().contains("2 more (--all)"), "{}", said.text());
    let said = stored.run(&["log", "vti"]);
    assert!(
        said.code() == 4 && said.text().contains("did you mean `vit`?"),
        "{}",
        said.text()
    );
}
