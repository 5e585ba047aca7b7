//! `sagebrush delete`.

use serde_json::{Value, json};

use super::deploy::MADE_BY_DEPLOY;
use super::output;
use crate::cli::NameArgs;
use crate::client::Client;
use crate::config::Config;
use crate::failure::Failure;

pub(crate) async fn run(config: &Config, args: &NameArgs) -> Result<(), Failure> {
    let client = Client::new(config);
    let request = json!({"EndpointName": args.name});
    let endpoint = client.sagemaker("DescribeEndpoint", &request).await?;
    client.sagemaker("DeleteEndpoint", &request).await?;
    if let Some(config_name) = endpoint["EndpointConfigName"].as_str() {
        delete_what_deploy_made(&client, config_name).await?;
    }
    if args.json.on {
        return output::json(&json!({"EndpointName": args.name, "Deleted": true}));
    }
    output::line(&format!("deleted {}", args.name))
}

/// A configuration and its models are left alone unless `deploy` made them.
async fn delete_what_deploy_made(client: &Client<'_>, config_name: &str) -> Result<(), Failure> {
    let request = json!({"EndpointConfigName": config_name});
    let described = match client.sagemaker("DescribeEndpointConfig", &request).await {
        Ok(described) => described,
        Err(Failure::Refused { .. }) => return Ok(()), // It is gone already.
        Err(failure) => return Err(failure),
    };
    let arn = json!({"ResourceArn": described["EndpointConfigArn"]});
    let tags = client.sagemaker("ListTags", &arn).await?;
    let is_ours = |tag: &Value| tag["Key"] == MADE_BY_DEPLOY;
    if !tags["Tags"].as_array().into_iter().flatten().any(is_ours) {
        return Ok(());
    }
    client.sagemaker("DeleteEndpointConfig", &request).await?;
    for variant in described["ProductionVariants"].as_array().into_iter().flatten() {
        client.sagemaker("DeleteModel", &json!({"ModelName": variant["ModelName"]})).await?;
    }
    Ok(())
}
