//! `sagebrush deploy`: pack, upload, create or update, wait.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{output, package};
use crate::cli::DeployArgs;
use crate::client::Client;
use crate::config::Config;
use crate::failure::Failure;

/// The tag of what `deploy` made, so that `delete` may clean it up.
pub(crate) const MADE_BY_DEPLOY: &str = "sagebrush:made-by";

/// How often the endpoint is looked at when its first Describe is not final.
const POLL: Duration = Duration::from_millis(500);

pub(crate) async fn run(config: &Config, args: &DeployArgs) -> Result<(), Failure> {
    let client = Client::new(config);
    let spinner = output::spinner("packing the model");
    let archive = package::pack(&args.path)?;
    let image = args.image.clone().unwrap_or_else(|| package::image(&archive).to_owned());
    let version = version(&archive, &image, args);
    spinner.set_message("uploading the model");
    let uri = upload(&client, config, args, archive).await?;
    spinner.set_message("creating the endpoint");
    create_model(&client, &image, &version, &uri).await?;
    create_config(&client, args, &version).await?;
    let change = point_endpoint_at(&client, args, &version).await?;
    spinner.set_message("waiting until the endpoint is in service");
    let endpoint = wait(&client, &args.name).await?;
    spinner.finish_and_clear();
    check(&endpoint, &version)?;
    if args.json.on {
        return output::json(&endpoint);
    }
    let verb = match change {
        Change::Created => "created",
        Change::Updated => "updated",
        Change::None => "nothing new for",
    };
    output::line(&format!("{verb} {}, in service at {}", args.name, config.endpoint_url()))
}

/// What was done to the endpoint.
enum Change {
    Created,
    Updated,
    /// It serves just this already.
    None,
}

/// A name that differs whenever the model or the way it is served does.
fn version(archive: &[u8], image: &str, args: &DeployArgs) -> String {
    let mut hash = Sha256::new();
    hash.update(archive);
    hash.update(format!("{image} {}", args.instances));
    let digest = hex::encode(hash.finalize());
    let short: String = args.name.chars().take(46).collect();
    format!("{}-{}", short.trim_end_matches('-'), digest.get(..16).unwrap_or(&digest))
}

async fn upload(
    client: &Client<'_>,
    config: &Config,
    args: &DeployArgs,
    archive: Vec<u8>,
) -> Result<String, Failure> {
    let digest = hex::encode(Sha256::digest(&archive));
    let bucket = config.default_bucket();
    let key = format!("models/{}/{digest}/model.tar.gz", args.name);
    client.put_object(&bucket, &key, archive).await?;
    Ok(format!("s3://{bucket}/{key}"))
}

async fn create_model(
    client: &Client<'_>,
    image: &str,
    version: &str,
    uri: &str,
) -> Result<(), Failure> {
    let request = json!({
        "ModelName": version,
        "PrimaryContainer": {"Image": image, "ModelDataUrl": uri},
        "Tags": [{"Key": MADE_BY_DEPLOY, "Value": "deploy"}],
    });
    unless_there(client.sagemaker("CreateModel", &request).await)
}

async fn create_config(
    client: &Client<'_>,
    args: &DeployArgs,
    version: &str,
) -> Result<(), Failure> {
    let request = json!({
        "EndpointConfigName": version,
        "ProductionVariants": [{
            "VariantName": "AllTraffic",
            "ModelName": version,
            "InitialInstanceCount": args.instances,
            "InstanceType": "ml.m5.large",
        }],
        "Tags": [{"Key": MADE_BY_DEPLOY, "Value": "deploy"}],
    });
    unless_there(client.sagemaker("CreateEndpointConfig", &request).await)
}

/// The names follow from the content: what is there already is what was wanted.
fn unless_there(outcome: Result<Value, Failure>) -> Result<(), Failure> {
    match outcome {
        Err(Failure::Refused { message, .. }) if message.contains("already existing") => Ok(()),
        other => other.map(drop),
    }
}

/// Creates the endpoint, or updates it unless it serves just this.
async fn point_endpoint_at(
    client: &Client<'_>,
    args: &DeployArgs,
    version: &str,
) -> Result<Change, Failure> {
    let request = json!({"EndpointName": args.name, "EndpointConfigName": version});
    match client.sagemaker("CreateEndpoint", &request).await {
        Err(Failure::Refused { message, .. }) if message.contains("already existing") => {
            let endpoint = wait(client, &args.name).await?;
            if check(&endpoint, version).is_ok() {
                return Ok(Change::None);
            }
            client.sagemaker("UpdateEndpoint", &request).await?;
            Ok(Change::Updated)
        }
        other => other.map(|_| Change::Created),
    }
}

async fn wait(client: &Client<'_>, name: &str) -> Result<Value, Failure> {
    let request = json!({"EndpointName": name});
    loop {
        let endpoint = client.sagemaker("DescribeEndpoint", &request).await?;
        let is_under_way =
            matches!(endpoint["EndpointStatus"].as_str(), Some("Creating" | "Updating"));
        if !is_under_way {
            return Ok(endpoint);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn check(endpoint: &Value, version: &str) -> Result<(), Failure> {
    let is_ours = endpoint["EndpointConfigName"] == version;
    if endpoint["EndpointStatus"] == "InService" && is_ours {
        return Ok(());
    }
    let reason = endpoint["FailureReason"].as_str().unwrap_or("no reason was given");
    Err(Failure::Other(format!("the endpoint did not come into service: {reason}")))
}
