//! HR and NDCG after a split that leaves one out, against loops over what `predict` says.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::space::Space;

const USERS: u32 = 14;
const ITEMS: u32 = 18;
const TOP: usize = 3;

/// When a user rated an item, if at all; many at the same time. The last user has rated two items alone.
fn time(user: u32, item: u32) -> Option<u32> {
    let rated = !(user * 7 + item * 5).is_multiple_of(3) && (user < USERS - 1 || item < 3);
    rated.then_some((user * 13 + item * 29) % 11)
}

fn is_drama(item: u32) -> bool {
    item % 3 != 1
}

fn space() -> Space {
    let mut ratings = "user,item,rating,timestamp\n".to_owned();
    for user in 0..USERS {
        for item in 0..ITEMS {
            if let Some(time) = time(user, item) {
                ratings += &format!("u{user:02},i{item:02},{},{time}\n", 1 + (user * 3 + item * 2) % 5);
            }
        }
    }
    let mut items = "id,title,genres\n".to_owned();
    for item in 0..ITEMS {
        items += &format!("i{item:02},Item {item},{}\n", if is_drama(item) { "Drama" } else { "Western" });
    }
    let mut pairs = "user,item\n".to_owned();
    (0..USERS).for_each(|user| (0..ITEMS).for_each(|item| pairs += &format!("u{user:02},i{item:02}\n")));
    let space = Space::with(
        r#"talkflow: 1
stages:
  ratings:
    dataset:
      file: ratings.csv
      columns: { user: user, item: item, rating: rating, timestamp: timestamp }
      items: { file: items.csv, id: id, title: title, genres: genres }
      # So wide that `predict` clips nothing: items are ranked by predictions that are not clipped.
      scale: { min: -1000, max: 1000, step: 1 }
  split:
    split: { rows: ratings, by: leave_one_out }
  teacher:
    pretrain: { rows: split, model: { mf: { embedding: 4 } }, batch: 16, stop: { epochs: 5 } }
  student:
    matrix: { method: [bias_only, scratch] }
    distill:
      rows: split
      where: { genre: Drama }
      model: { mf: { embedding: 4, damping: 2 } }
      batch: 16
      stop: { epochs: 5 }
      method: "${matrix.method}"
  scores:
    evaluate: { models: student, teacher: teacher, rows: split, metrics: [ndcg, hr, rmse], ranking: { top: 3 } }
  everything:
    evaluate: { models: teacher, rows: split, metrics: [hr, ndcg], ranking: { top: 3 } }
  drawn:
    evaluate: { models: teacher, rows: split, metrics: [hr, ndcg], ranking: { top: 3, sampled: 4 } }
"#,
    );
    space.write("ratings.csv", &ratings);
    space.write("items.csv", &items);
    space.write("pairs.csv", &pairs);
    space
}

/// What a model gives each item for each user.
fn predictions(space: &Space, stage: &str) -> BTreeMap<(u32, u32), f32> {
    let document = space.run(&["predict", stage, "--input", "pairs.csv", "--format", "json"]).ok().json();
    let number = |value: &Value| value.as_str().unwrap()[1..].parse::<u32>().unwrap();
    assert_eq!(document["clipped"], 0);
    let rows = document["predictions"].as_array().unwrap().iter();
    rows.map(|row| ((number(&row["user"]), number(&row["item"])), row["prediction"].as_f64().unwrap() as f32)).collect()
}

/// HR and NDCG by their definitions, over users whose last item is one of `among`, and how many users these are.
fn expected(predictions: &BTreeMap<(u32, u32), f32>, among: fn(u32) -> bool) -> (f64, f64, usize) {
    let (mut hits, mut gains, mut users) = (0.0, 0.0, 0);
    for user in 0..USERS {
        let rated: Vec<u32> = (0..ITEMS).filter(|item| time(user, *item).is_some()).collect();
        let last = rated.iter().copied().max_by_key(|item| (time(user, *item), *item)).unwrap();
        if rated.len() < 3 || !among(last) {
            continue;
        }
        users += 1;
        let own = predictions[&(user, last)];
        let others = (0..ITEMS).filter(|item| among(*item) && !rated.contains(item)).map(|item| predictions[&(user, item)]);
        let (mut above, mut equal) = (0, 0);
        others.for_each(|other| {
            above += usize::from(other > own);
            equal += usize::from(other == own);
        });
        // Each place among those that share its score is as likely.
        for place in above + 1..=above + equal + 1 {
            let share = 1.0 / (equal + 1) as f64;
            hits += if place <= TOP { share } else { 0.0 };
            gains += if place <= TOP { share / (place as f64 + 1.0).log2() } else { 0.0 };
        }
    }
    (hits / users as f64, gains / users as f64, users)
}

#[test]
fn hr_and_ndcg_are_those_of_loops_over_all_predictions() {
    let space = space();
    let document = space.document(&[]);
    let held = |entry: &Value, (hit, gain, users): (f64, f64, usize)| {
        assert_eq!(
            (entry["ratings"]["users"].as_u64(), entry["rows"].as_u64()),
            (Some(users as u64), Some(users as u64)),
            "{entry}"
        );
        assert!((entry["measures"]["hr"].as_f64().unwrap() - hit).abs() < 1e-9, "{entry}: {hit}");
        assert!((entry["measures"]["ndcg"].as_f64().unwrap() - gain).abs() < 1e-9, "{entry}: {gain}");
    };
    let entries = |stage: &str| document["metrics"][stage]["entries"].as_array().unwrap().clone();
    // The teacher knows all items, and is asked for those of its students' genre.
    for entry in entries("scores") {
        let stage = entry["instance"].as_str().unwrap();
        held(&entry, expected(&predictions(&space, stage), is_drama));
    }
    let all = expected(&predictions(&space, "teacher"), |_| true);
    assert_eq!(all.2, USERS as usize - 1, "who has two ratings alone is not tested");
    held(&entries("everything")[0], all);
    // Against four that were drawn a place is higher than against all.
    let drawn = &entries("drawn")[0];
    assert!(drawn["measures"]["hr"].as_f64().unwrap() > all.0 && drawn["measures"]["hr"].as_f64().unwrap() < 1.0, "{drawn}");
    let table = space.run(&["run", "m.yaml", "--offline"]).ok();
    for text in ["NDCG@3 on the test rows", "HR@3 ", "among all items of the model's genres", "among 4 drawn of the items"] {
        assert!(table.stdout.contains(text), "no `{text}` in\n{}", table.stdout);
    }
    space.nothing_to_do(&[]);
}

/// The same bytes on one core and on two, ranks of each user included.
#[test]
fn ranks_are_the_same_on_any_number_of_cores() {
    let (one, two) = (space(), space());
    let manifest = two.read("m.yaml");
    two.write("m.yaml", &manifest.replace("    evaluate:", "    resources: { cores: 2 }\n    evaluate:"));
    one.document(&["-j", "1"]);
    two.document(&["-j", "2"]);
    assert_eq!(one.results(), two.results());
    assert!(one.results().iter().any(|(stage, file, _)| stage == "scores" && file == "ranks.parquet"));
}
