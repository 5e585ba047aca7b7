//! `sagebrush endpoints`.

use serde_json::{Value, json};

use super::output;
use crate::cli::JsonArg;
use crate::client::Client;
use crate::config::Config;
use crate::failure::Failure;

pub(crate) async fn run(config: &Config, args: &JsonArg) -> Result<(), Failure> {
    let endpoints = all(&Client::new(config)).await?;
    if args.on {
        return output::json(&Value::Array(endpoints));
    }
    let row = |endpoint: &Value| {
        let text = |name: &str| endpoint[name].as_str().unwrap_or_default().to_owned();
        vec![
            text("EndpointName"),
            text("EndpointStatus"),
            output::time(endpoint["CreationTime"].as_f64()),
            output::time(endpoint["LastModifiedTime"].as_f64()),
        ]
    };
    output::table(&["NAME", "STATUS", "CREATED", "CHANGED"], endpoints.iter().map(row).collect())
}

/// All pages of `ListEndpoints`, by name.
async fn all(client: &Client<'_>) -> Result<Vec<Value>, Failure> {
    let mut endpoints = Vec::new();
    let mut request = json!({"SortBy": "Name", "SortOrder": "Ascending", "MaxResults": 100});
    loop {
        let mut page = client.sagemaker("ListEndpoints", &request).await?;
        if let Value::Array(more) = page["Endpoints"].take() {
            endpoints.extend(more);
        }
        match page["NextToken"].as_str() {
            Some(token) => request["NextToken"] = token.into(),
            None => return Ok(endpoints),
        }
    }
}
