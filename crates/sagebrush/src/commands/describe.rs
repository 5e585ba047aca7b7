//! `sagebrush describe`.

use serde_json::{Value, json};

use super::output;
use crate::cli::NameArgs;
use crate::client::Client;
use crate::config::Config;
use crate::failure::Failure;

pub(crate) async fn run(config: &Config, args: &NameArgs) -> Result<(), Failure> {
    let request = json!({"EndpointName": args.name});
    let endpoint = Client::new(config).sagemaker("DescribeEndpoint", &request).await?;
    if args.json.on {
        return output::json(&endpoint);
    }
    let text = |name: &str| endpoint[name].as_str().unwrap_or_default().to_owned();
    let mut rows = vec![
        vec!["name".to_owned(), text("EndpointName")],
        vec!["status".to_owned(), text("EndpointStatus")],
        vec!["config".to_owned(), text("EndpointConfigName")],
        vec!["arn".to_owned(), text("EndpointArn")],
        vec!["created".to_owned(), output::time(endpoint["CreationTime"].as_f64())],
        vec!["changed".to_owned(), output::time(endpoint["LastModifiedTime"].as_f64())],
    ];
    for variant in endpoint["ProductionVariants"].as_array().into_iter().flatten() {
        rows.push(vec!["variant".to_owned(), variant_line(variant)]);
        for image in variant["DeployedImages"].as_array().into_iter().flatten() {
            rows.push(vec!["image".to_owned(), image_line(image)]);
        }
    }
    if let Some(reason) = endpoint["FailureReason"].as_str() {
        rows.push(vec!["reason".to_owned(), reason.to_owned()]);
    }
    output::table(&["ENDPOINT", ""], rows)
}

fn variant_line(variant: &Value) -> String {
    format!(
        "{}: {} of {} instances, weight {}",
        variant["VariantName"].as_str().unwrap_or_default(),
        variant["CurrentInstanceCount"],
        variant["DesiredInstanceCount"],
        variant["CurrentWeight"],
    )
}

/// The image as it was asked for, and what serves it here.
fn image_line(image: &Value) -> String {
    let text = |name: &str| image[name].as_str().unwrap_or_default();
    format!("{} -> {}", text("SpecifiedImage"), text("ResolvedImage"))
}
