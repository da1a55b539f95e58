use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse_yaml(text: &str) -> Manifests {
    parse(&"a.yaml".into(), text)
}

fn names(found: &Manifests) -> Vec<String> {
    found.objects.iter().map(ToString::to_string).collect()
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: cart\n  namespace: shop\n";

#[test]
fn every_document_of_a_file_is_an_object_with_its_line() {
    let found = parse_yaml(&format!("# shop\n{POD}---\n\n{}", POD.replace("cart", "db")));
    assert_eq!(names(&found), ["Pod shop/cart at a.yaml:2", "Pod shop/db at a.yaml:9"]);
}

#[test]
fn a_list_is_taken_apart_and_each_item_knows_its_line() {
    let text = "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    \
                name: shop\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: c}\nkind: List\n";
    assert_eq!(
        names(&parse_yaml(text)),
        ["Namespace shop at a.yaml:3", "ConfigMap default/c at a.yaml:7"]
    );
}

#[test]
fn a_bare_list_of_objects_is_taken_apart() {
    let text = "[\n{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{\"apiVersion\": \"v1\", \
                \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}}]},\n{\"apiVersion\": \"v1\", \"kind\": \
                \"Pod\", \"metadata\": {\"name\": \"b\"}}]";
    for file in ["a.json", "a.yaml"] {
        let found = parse(&file.into(), text);
        let wanted = [format!("Pod default/a at {file}:2"), format!("Pod default/b at {file}:3")];
        assert_eq!(names(&found), wanted);
    }
    let list = parse_yaml("- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n- 1\n");
    assert_eq!(names(&list), ["Pod default/a at a.yaml:1"]);
    assert_eq!(list.foreign, [Place { file: "a.yaml".into(), line: 4 }]);
}

#[test]
fn items_of_a_typed_list_take_its_kind() {
    let text = "{\n\"apiVersion\": \"v1\", \"kind\": \"PodList\", \"items\": [\n{\"metadata\": \
                {\"name\": \"a\"}},\n{\"metadata\": {\"name\": \"b\"}}]}";
    let found = parse(&"a.json".into(), text);
    assert_eq!(names(&found), ["Pod default/a at a.json:3", "Pod default/b at a.json:4"]);
    assert_eq!(found.objects[0].body["kind"], json!("Pod"));
}

#[test]
fn a_broken_document_is_named_and_its_neighbours_are_read() {
    let found = parse_yaml(&format!(
        "{POD}---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: deny\n  \
         namespace: shop\nspec:\n\tpodSelector: {{}}\n---\n{}",
        POD.replace("cart", "db")
    ));
    assert_eq!(found.objects.len(), 2);
    let broken = &found.broken[0];
    assert_eq!(broken.source.line, 13);
    assert_eq!(broken.kind.as_deref(), Some("NetworkPolicy"));
    assert_eq!(broken.namespace.as_deref(), Some("shop"));
    assert_eq!(broken.name.as_deref(), Some("deny"));
}

#[test]
fn a_document_whose_kind_is_no_word_could_be_anything() {
    for text in ["kind: [\n", "kind: {a\nmetadata:\n  name: x\n", "kind: 'a b\n"] {
        let found = parse_yaml(text);
        assert_eq!(found.broken.len(), 1, "{text}");
        assert_eq!(found.broken[0].kind, None, "{text}");
    }
}

#[test]
fn a_document_without_a_name_or_a_kind_is_named() {
    let found = parse_yaml("apiVersion: v1\nkind: Pod\n---\nkind: Pod\n---\nreplicas: 3\n");
    let problems: Vec<_> = found.broken.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "a.yaml:1: Pod: it has no metadata.name",
            "a.yaml:4: Pod: it has a kind but no apiVersion"
        ]
    );
    assert_eq!(found.foreign, [Place { file: "a.yaml".into(), line: 6 }]);
}

#[test]
fn a_kustomization_is_no_object() {
    let text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n---\n\
                kind: Kustomization\nresources: [a.yaml]\n";
    let found = parse_yaml(text);
    assert_eq!((found.foreign.len(), found.broken.len()), (2, 0), "{:?}", found.broken);
}

#[test]
fn a_key_that_stands_twice_is_refused_and_a_merged_one_is_overridden() {
    let twice = parse_yaml(&format!("{POD}kind: Pod\n"));
    assert!(twice.broken[0].problem.contains("'kind' stands there twice"), "{twice:?}");
    let merged = parse_yaml(&format!("{POD}a: &a {{x: 1, y: 1}}\nb:\n  <<: *a\n  x: 2\n"));
    assert_eq!(merged.objects[0].body["b"], json!({"x": 2, "y": 1}));
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut bomb = format!("{POD}a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb = format!("{bomb}a{level}: &a{level} [{items}]\n");
    }
    let found = parse_yaml(&bomb);
    assert!(found.broken[0].problem.contains("aliases add more than"), "{:?}", found.broken);
}

#[test]
fn a_tab_before_an_item_is_a_space_and_before_a_key_is_refused() {
    let spec = "spec:\n  args:\n    [\n      \"a\",\n\t  \"b\",\n\t\t\"c\"\n\t]\n  x: 1\n";
    let items = parse_yaml(&format!("{POD}{spec}"));
    assert_eq!(items.objects[0].body["spec"], json!({"args": ["a", "b", "c"], "x": 1}));
    let key = parse_yaml(&format!("{POD}spec:\n\targs: []\n"));
    assert_eq!((key.objects.len(), key.broken[0].source.line), (0, 7));
}

#[test]
fn depth_is_bounded() {
    for (open, file) in [("[", "a.yaml"), ("[", "a.json"), ("{\"a\":", "a.json"), ("- ", "a.yaml")]
    {
        let found = parse(&file.into(), &open.repeat(100_000));
        assert_eq!((found.objects.len(), found.broken.len()), (0, 1), "{file} {open}");
    }
}

#[test]
fn escapes_and_line_ends_of_any_kind_are_read_or_refused() {
    let escaped = parse_yaml(&format!("{POD}a: \"\\x41\\u0042\\\n  c\"\r\n"));
    assert_eq!(escaped.objects[0].body["a"], json!("ABc"));
    for bad in ["\"\\xZZ\"", "\"\\x4\"", "\"\\uD800\"", "\"\\U00110000\"", "\"\\", "'", "\u{0}"] {
        assert_eq!(parse_yaml(&format!("{POD}a: {bad}\n")).objects.len(), 0, "{bad}");
    }
}

#[test]
fn a_folder_is_read_with_its_folders_and_its_broken_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("b")).unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("b/back")).unwrap();
    put("b/pod.yml", POD.as_bytes());
    put("a.json", POD.replace("cart", "json").as_bytes());
    put("c.yaml", b"\xff\xfe");
    put("notes.txt", b"not a manifest");
    let found = read(folder.path()).unwrap();
    assert_eq!(found.objects.len(), 1);
    assert_eq!(found.broken.len(), 2);
    assert!(found.broken[0].problem.contains("not JSON"), "{}", found.broken[0]);
    assert!(found.broken[1].problem.contains("not UTF-8: line 1"), "{}", found.broken[1]);
    assert!(read(&folder.path().join("absent")).is_err());
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "[ -~\\n\\t\\u{80}-\\u{2ff}]{0,200}") {
        let read = [parse_yaml(&text), parse(&"a.json".into(), &text)];
        prop_assert!(read.iter().all(|found| found.objects.is_empty()));
    }

    #[test]
    fn a_damaged_manifest_never_panics(at in 0usize..300, byte in any::<u8>(), cut in 0usize..300) {
        let whole = format!("{POD}spec:\n  a: &x \"\\x41\"\n  b: [*x, {{c: 'd'}}]\n--- |\n  text\n");
        let mut bytes = whole.into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(cut.max(at + 1));
        parse_yaml(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn json_reads_the_same_as_yaml(words in prop::collection::vec("[a-z0-9.:/ \\\\\"-]{0,12}", 0..8)) {
        let body = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"args": words}
        });
        let text = serde_json::to_string_pretty(&body).unwrap();
        let (yaml, json) = (parse_yaml(&text), parse(&"a.json".into(), &text));
        prop_assert_eq!(&yaml.objects[0].body, &body);
        prop_assert_eq!(&json.objects[0].body, &body);
    }
}
