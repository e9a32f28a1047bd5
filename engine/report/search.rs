//! What a search found, as people read it: what was searched, at which cost, how each candidate did, and which was chosen. Computes nothing.

use serde_json::{Map, Value};

/// A search in words. `seconds` is how long its trials took, where that is known. Nothing where these are no metrics of a search.
#[must_use]
pub fn render(name: &str, metrics: &Map<String, Value>, seconds: Option<f64>) -> Option<String> {
    let ranking = metrics.get("ranking")?.as_array()?;
    let space = metrics.get("space")?.as_object()?;
    let count = |name: &str| metrics.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut text = format!("{name}: settings searched for on validation rows\n");
    for (path, values) in space {
        let values: Vec<String> = values.as_array().map_or(&[][..], Vec::as_slice).iter().map(written).collect();
        text += &format!("space: {path} {}\n", values.join(", "));
    }
    let took = seconds.map_or(String::new(), |seconds| format!(", {seconds:.1} s"));
    text += &format!(
        "budget: {} candidates, {} trainings, {} of at most {} epochs{took}\n",
        count("candidates"),
        count("trainings"),
        count("epochs"),
        count("most_epochs"),
    );
    let trials = |candidate: &Value| candidate["trials"].as_array().cloned().unwrap_or_default();
    let on: Vec<String> = ranking.first().map(trials).unwrap_or_default().iter().map(|trial| text_of(&trial["on"])).collect();
    let mut head = vec!["place".to_owned()];
    head.extend(space.keys().cloned());
    let measure = metrics.get("measure").and_then(Value::as_str).unwrap_or_default();
    head.push(format!("validation {}", if measure == "rmse" { "RMSE" } else { measure }));
    // Of one trial it would be the same number again.
    let several = on.len() > 1;
    head.extend(on.iter().filter(|_| several).cloned());
    let chosen = count("place");
    let mut grid = vec![head];
    for candidate in ranking {
        let place = candidate["place"].as_u64().unwrap_or(0);
        let mut line = vec![format!("{place}{}", if place == chosen { " <" } else { "" })];
        line.extend(space.keys().map(|path| written(&candidate["settings"][path])));
        line.push(number(&candidate["validation"]));
        let own = trials(candidate);
        let of = |on: &String| {
            own.iter().find(|trial| trial["on"] == **on).map_or("-".to_owned(), |trial| number(&trial["validation"]))
        };
        line.extend(on.iter().filter(|_| several).map(of));
        grid.push(line);
    }
    let width = |column: usize| grid.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..grid[0].len()).map(width).collect();
    for line in &grid {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += &format!("{}\n", cells.join("  ").trim_end());
    }
    Some(text)
}

fn written(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> String {
    value.as_f64().map_or("-".to_owned(), |value| format!("{value:.4}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failing test may panic")]

    use super::*;
    use serde_json::json;

    #[test]
    fn a_search_shows_its_space_its_budget_and_every_trial() {
        let trial = |on: &str, rmse: f64| json!({ "on": on, "seed": 1, "validation": rmse, "best_epoch": 2, "epochs": 3 });
        let candidate = |place: usize, weight: f64, scores: [f64; 2]| {
            json!({
                "place": place,
                "settings": { "method.label.weight": weight, "clip": null },
                "validation": (scores[0] + scores[1]) / 2.0,
                "trials": [trial("seed=1", scores[0]), trial("seed=2", scores[1])],
            })
        };
        let metrics = json!({
            "validation_rmse": 0.95,
            "measure": "rmse",
            "place": 1,
            "candidates": 2,
            "trainings": 4,
            "epochs": 12,
            "most_epochs": 40,
            "space": { "method.label.weight": [0.1, 3.0], "clip": [null] },
            "ranking": [candidate(1, 3.0, [0.94, 0.96]), candidate(2, 0.1, [0.98, 0.99])],
        });
        let text = render("tuned", metrics.as_object().unwrap(), Some(1.25)).unwrap();
        let expected = "tuned: settings searched for on validation rows\n\
                        space: method.label.weight 0.1, 3.0\n\
                        space: clip -\n\
                        budget: 2 candidates, 4 trainings, 12 of at most 40 epochs, 1.2 s\n\
                        place  method.label.weight  clip  validation RMSE  seed=1  seed=2\n\
                        1 <    3.0                  -     0.9500           0.9400  0.9600\n\
                        2      0.1                  -     0.9850           0.9800  0.9900\n";
        assert_eq!(text, expected);
        assert_eq!(render("x", &Map::new(), None), None);
    }
}
