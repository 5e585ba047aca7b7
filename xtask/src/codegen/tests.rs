use std::collections::BTreeSet;

use super::*;

#[test]
fn fields_are_named_in_words() {
    for (member, field) in [
        ("VpcConfig", "vpc_config"),
        ("KMSKeyId", "kms_key_id"),
        ("S3Uri", "s3_uri"),
        ("ManifestS3Uri", "manifest_s3_uri"),
        ("Ec2CapacityReservationId", "ec2_capacity_reservation_id"),
        ("MemorySizeInMB", "memory_size_in_mb"),
        ("EnableSSMAccess", "enable_ssm_access"),
        ("ETag", "e_tag"),
        ("RoleARNs", "role_arns"),
        ("SubnetARNsByName", "subnet_arns_by_name"),
        ("logGroupName", "log_group_name"),
        ("x-amzn-id", "x_amzn_id"),
        ("FSxLustreConfig", "fsx_lustre_config"),
    ] {
        assert_eq!(names::field_name(member), field);
    }
}

#[test]
fn variants_are_named_in_camel_case() {
    for (value, variant) in [
        ("InService", "InService"),
        ("ROLLING_BACK", "RollingBack"),
        ("capacity-reservations-only", "CapacityReservationsOnly"),
        ("ml.t2.medium", "MlT2Medium"),
        ("ml.t2.2xlarge", "MlT2_2xlarge"),
        ("S3Prefix", "S3Prefix"),
        ("x86_64", "X86_64"),
        ("2.0", "V2_0"),
        ("*", "V"),
    ] {
        assert_eq!(names::variant_name(value), variant);
    }
}

#[test]
fn keywords_are_escaped() {
    assert_eq!(names::field_in_source("type"), "r#type");
    assert_eq!(names::field_in_source("types"), "types");
}

#[test]
fn a_small_model_becomes_rust() {
    let library = library(&["LendBook", "ReturnBook"]).expect("the library is sound");
    let source = tree::rustfmt(&root(), &render::service(&library)).expect("rustfmt runs");
    let version = botocore::VERSION;
    let expected = include_str!("testdata/library.rs").replace("{version}", version);
    assert!(source == expected, "{source}");
}

#[test]
fn mistakes_in_the_list_are_told() {
    check_refusal(&["EatBook"], "no operation EatBook");
    check_refusal(&["LendBook", "LendBook"], "an operation of library is listed twice");
}

fn check_refusal(operations: &[&str], why: &str) {
    let error = library(operations).err().expect("a refusal");
    assert!(format!("{error:#}").contains(why), "{error:#}");
}

#[test]
fn the_list_may_only_shrink() {
    let list = |operations: &[&str]| {
        unimplemented::render(&[library(operations).expect("the library is sound")])
    };
    let (long, short) = (list(&["LendBook"]), list(&["LendBook", "ReturnBook"]));
    assert!(long.ends_with("\nlibrary:BurnBook\nlibrary:ReturnBook\n"), "{long}");
    assert!(unimplemented::check_shorter(&long, &short).is_ok());
    let error = unimplemented::check_shorter(&short, &long).expect_err("it grew");
    assert!(error.to_string().ends_with("would gain library:ReturnBook"), "{error}");
    let newer = long.replace(botocore::VERSION, "9.9.9");
    assert!(unimplemented::check_shorter(&short, &newer).is_ok());
}

#[test]
fn files_are_compared_and_brought_up_to_date() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = Files::from([("a/gone".into(), "1".into()), ("a/stale".into(), "1\n2\n".into())]);
    let new = Files::from([("a/new".into(), "1".into()), ("a/stale".into(), "1\n3\n".into())]);
    let differences = |files| tree::compare(folder.path(), "a", files).expect("compares");
    tree::write(folder.path(), &differences(&old)).expect("writes");

    let lines: Vec<String> = differences(&new).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "a/gone: should not be there",
            "a/new: is missing",
            "a/stale: first at line 2\n  -2\n  +3"
        ]
    );

    tree::write(folder.path(), &differences(&new)).expect("writes");
    assert!(differences(&new).is_empty());
}

#[test]
fn the_tree_is_up_to_date() {
    run(&Args { check: true }).expect("no file differs");
}

#[test]
fn every_operation_is_served_or_listed_as_unimplemented() {
    let services = services(&root()).expect("the services");
    let name = |service: &Service, operation: &str| format!("{}:{operation}", service.name);
    let all: BTreeSet<String> = services
        .iter()
        .flat_map(|service| service.model.operations.keys().map(|each| name(service, each)))
        .collect();
    let served = services
        .iter()
        .flat_map(|service| service.operations.iter().map(|each| name(service, each)));
    let list = fs::read_to_string(root().join(unimplemented::FILE)).expect("the list");
    let unimplemented = list.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);

    let told: Vec<String> = served.chain(unimplemented).collect();
    assert_eq!(told.len(), all.len(), "none is told twice");
    assert_eq!(BTreeSet::from_iter(told), all);
}

fn library(operations: &[&str]) -> Result<Service> {
    let model = serde_json::from_str(include_str!("testdata/library.json"))?;
    Service::new("library", operations.iter().map(ToString::to_string).collect(), model)
}

fn root() -> PathBuf {
    workspace_root().expect("the workspace's root")
}
