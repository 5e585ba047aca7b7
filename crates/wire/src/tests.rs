use serde_json::json;

use crate::sagemaker::{
    CreateModelInput, DeleteModel, DescribeEndpointOutput, DescribeModelOutput, EndpointStatus,
    ProductionVariant, ProductionVariantInstanceType, SAGEMAKER, VpcConfig,
};
use crate::{Empty, Operation, Shape, Timestamp, logs, sagemaker, sagemaker_runtime, sts};

#[test]
fn unknown_and_null_members_are_ignored() {
    let wire = json!({ "ModelName": "m", "PrimaryContainer": null, "Colour": "red" });
    let input: CreateModelInput = serde_json::from_value(wire).expect("an input");
    assert_eq!(input, CreateModelInput { model_name: "m".into(), ..Default::default() });
}

#[test]
fn what_is_unset_is_not_written() {
    let output = DescribeModelOutput {
        model_name: "m".into(),
        model_arn: "arn".into(),
        creation_time: Timestamp(1.5),
        vpc_config: Some(VpcConfig { security_group_ids: vec!["sg".into()], subnets: Vec::new() }),
        ..Default::default()
    };
    let wire = json!({
        "ModelName": "m",
        "ModelArn": "arn",
        "CreationTime": 1.5,
        "VpcConfig": { "SecurityGroupIds": ["sg"], "Subnets": [] },
    });
    assert_eq!(serde_json::to_value(output).expect("JSON"), wire);
    assert_eq!(serde_json::to_string(&Empty {}).expect("JSON"), "{}");
}

#[test]
fn names_that_case_rules_miss_are_kept() {
    let wire = json!({
        "VariantName": "v",
        "InstanceType": "ml.t2.2xlarge",
        "InitialVariantWeight": 0.3,
        "ServerlessConfig": { "MemorySizeInMB": 2048, "MaxConcurrency": 1 },
        "VolumeSizeInGB": 4,
    });
    let variant: ProductionVariant = serde_json::from_value(wire).expect("a variant");
    assert_eq!(variant.instance_type, Some(ProductionVariantInstanceType::MlT2_2xlarge));
    assert_eq!(variant.serverless_config.expect("set").memory_size_in_mb, 2048);
    assert_eq!(variant.volume_size_in_gb, Some(4));
}

#[test]
fn enums_speak_as_on_the_wire() {
    assert_eq!(EndpointStatus::InService.to_string(), "InService");
    assert_eq!(ProductionVariantInstanceType::MlT2_2xlarge.as_str(), "ml.t2.2xlarge");
    for value in ProductionVariantInstanceType::VALUES {
        let read: ProductionVariantInstanceType =
            serde_json::from_value(json!(value)).expect("a value");
        assert_eq!(read.as_str(), *value);
    }
}

#[test]
fn required_outputs_are_demanded() {
    let wire = json!({ "EndpointName": "e", "EndpointArn": "arn" });
    let error = serde_json::from_value::<DescribeEndpointOutput>(wire).expect_err("too little");
    assert_eq!(error.to_string(), "missing field `EndpointStatus`");
}

#[test]
fn services_and_operations_know_their_names() {
    assert_eq!((SAGEMAKER.signing_name, SAGEMAKER.target_prefix), ("sagemaker", "SageMaker"));
    assert_eq!(logs::LOGS.target_prefix, "Logs_20140328");
    assert_eq!(sts::STS.xml_namespace, "https://sts.amazonaws.com/doc/2011-06-15/");
    assert_eq!(sagemaker_runtime::SAGEMAKER_RUNTIME.signing_name, "sagemaker");
    assert_eq!(sagemaker::OPERATIONS.len(), 425);
    assert!(sagemaker::OPERATIONS.contains(&DeleteModel::NAME));
}

#[test]
fn tables_hold_the_constraints() {
    let Shape::Structure(members) = DeleteModel::input_shape() else { panic!("a structure") };
    let [name] = members else { panic!("one member") };
    assert!(name.required);
    assert_eq!(name.name, "ModelName");
    let Shape::String { max, .. } = name.shape else { panic!("a string") };
    assert_eq!(*max, Some(63));
    assert!(matches!(DeleteModel::output_shape(), Shape::Structure([])));
}
