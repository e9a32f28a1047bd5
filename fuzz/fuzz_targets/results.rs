//! The JSON files of results: scores and their table, a model's configuration, a data set's summary.

#![no_main]

use libfuzzer_sys::fuzz_target;
use talkflow::report::table;
use talkflow::stages::files::{ModelConfig, json};
use talkflow_datasets::ratings::Summary;
use talkflow_fuzz::{choice, chosen, prepared, written};

const SCORES: &str = r#"{"format":2,"task":"ratings","data":"movielens/synthetic","part":"test","metrics":["rmse","mae","gap_recovery"],"row_axis":"genre","column_axis":"method","notes":["n"],"blocks":2,"entries":[{"row":"Drama","column":"talk","block":"1","model":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","labels":{"genre":"Drama"},"method":"talk","rows":10,"train_rows":80,"on":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","serving_parameters":10,"training_parameters":2,"measures":{"rmse":1.0,"mae":0.5,"user_rmse":1.0},"cka_low":0.5,"cka_high":null,"ratings":{"genres":["Drama"],"users":5,"fallbacks":1,"clipped":0,"deep_share":0.5,"collapsed":true}}],"cells":[{"row":"Drama","column":"talk","measures":{"rmse":{"mean":1.0,"sd":0.1,"n":2},"mae":{"mean":0.5,"sd":null,"n":1},"user_rmse":{"mean":1.0,"sd":null,"n":1}},"gap_recovery":0.5,"gap_blocks":1}],"checks":[{"row":null,"difference":{"mean":0.1,"sd":0.1,"n":2},"interval":[0.0,0.2],"invalid":true}],"declared":{"metric":"rmse","direction":"lower_is_better","reference":"scratch","methods":[],"pairs":[["talk","label"]],"groups":[],"rows":true,"margin":0.005,"alpha":0.05,"confidence":0.95},"compared":[{"family":"rows","row":"Drama","over":["Drama"],"method":"talk","reference":"scratch","blocks":1,"left_out":0,"method_mean":1.0,"reference_mean":null,"gap_recovery":null,"sentence":"s","judgement":{"verdict":"unresolved","p_difference":null,"p_equivalence":0.5,"family":1,"alpha":0.05,"margin":0.005,"evidence":{"degenerate":{"reason":"too_few","n":1,"needed":2}}}}],"over_users":[{"family":"rows","row":"Drama","over":["Drama"],"method":"talk","reference":"scratch","found":{"degenerate":{"reason":"one_sided"}}}]}"#;
const CLASSES: &str = r#"{"format":2,"task":"classes","data":"movielens/synthetic","part":"test","metrics":["accuracy","macro_accuracy","nll","ece"],"row_axis":"data","column_axis":"method","notes":["n"],"blocks":2,"entries":[{"row":"all","column":"label","block":"1","model":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","labels":{"method":"label"},"method":"label","rows":10,"train_rows":80,"on":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","serving_parameters":10,"training_parameters":2,"measures":{"accuracy":0.75,"macro_accuracy":0.5,"nll":0.25,"ece":0.125},"cka_low":0.5,"cka_high":null,"classes":[{"class":"cat","rows":4,"right":3,"taken_for":{"dog":1}},{"class":"dog","rows":0,"right":0,"taken_for":{}}]}],"cells":[{"row":null,"column":"label","measures":{"accuracy":{"mean":0.75,"sd":0.1,"n":2}},"gap_recovery":null,"gap_blocks":0}],"checks":[],"declared":{"metric":"accuracy","direction":"higher_is_better","reference":"scratch","methods":[],"pairs":[["talk","label"]],"groups":[],"rows":true,"margin":0.005,"alpha":0.05,"confidence":0.95},"compared":[],"over_users":[],"per_class":{"declared":{"metric":"accuracy","direction":"higher_is_better","reference":"scratch","methods":[],"pairs":[["talk","label"]],"groups":[],"rows":true,"margin":0.005,"alpha":0.05,"confidence":0.95},"rows":[{"row":"all","compared":[{"family":"label","row":"cat","over":["cat"],"method":"label","reference":"scratch","blocks":1,"left_out":0,"method_mean":1.0,"reference_mean":null,"gap_recovery":null,"sentence":"s","judgement":{"verdict":"unresolved","p_difference":null,"p_equivalence":0.5,"family":1,"alpha":0.05,"margin":0.005,"evidence":{"degenerate":{"reason":"too_few","n":1,"needed":2}}}}],"worse":{"label":["cat"]}}]}}"#;
const MODEL: &str = r#"{"model":{"format":1},"method":"talk","rows":"Drama","genres":["Drama"],"data":"movielens/synthetic","of":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","serving_parameters":1,"training_parameters":2,"best_epoch":3,"measure":"rmse","validation":0.9}"#;

fn seeds() -> Vec<Vec<u8>> {
    let summary = std::fs::read(prepared().join("dataset.json")).expect("the summary");
    vec![chosen(0, SCORES), chosen(0, CLASSES), chosen(1, MODEL), chosen(2, summary)]
}

fuzz_target!(init: talkflow_fuzz::begin(seeds), |input: &[u8]| {
    let (kind, text) = choice(input);
    let path = written("result.json", text);
    match kind % 3 {
        0 => {
            if let Ok(scores) = table::read(&path) {
                let order = vec![("genre".to_owned(), vec!["Drama".to_owned(), "Other".to_owned()])];
                table::render("scores", &scores, &order);
                for sheet in table::comparisons(&scores, &order) {
                    let _ = (sheet.brief().text(), sheet.markdown(), sheet.latex(), sheet.csv(), sheet.json());
                }
            }
        }
        1 => drop(json::<ModelConfig>(&path)),
        _ => drop(Summary::open(&path)),
    }
});
