//! The managed policies of AWS that are known here, by their ARNs.
//!
//! Their documents allow what those of AWS allow of the services that are served here.

/// A policy that AWS has in every account.
pub(crate) struct AwsManaged {
    pub(crate) name: &'static str,
    pub(crate) document: &'static str,
}

impl AwsManaged {
    pub(crate) fn arn(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    pub(crate) fn find(arn: &str) -> Option<&'static Self> {
        let name = arn.strip_prefix(PREFIX)?;
        ALL.iter().find(|policy| policy.name == name)
    }
}

/// What the ARNs of AWS's own policies begin with.
pub(crate) const PREFIX: &str = "arn:aws:iam::aws:policy/";

pub(crate) const ALL: &[AwsManaged] = &[
    AwsManaged {
        name: "AdministratorAccess",
        document: r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
    },
    AwsManaged {
        name: "AmazonS3FullAccess",
        document: r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#,
    },
    AwsManaged {
        name: "AmazonS3ReadOnlyAccess",
        document: r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["s3:Get*","s3:List*"],"Resource":"*"}]}"#,
    },
    AwsManaged {
        name: "AmazonSageMakerFullAccess",
        document: r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["sagemaker:*"],"Resource":"*"},
            {"Effect":"Allow","Action":["application-autoscaling:*","cloudwatch:DeleteAlarms",
                "cloudwatch:DescribeAlarms","cloudwatch:GetMetricData",
                "cloudwatch:GetMetricStatistics","cloudwatch:ListMetrics",
                "cloudwatch:PutMetricAlarm","cloudwatch:PutMetricData","iam:GetRole",
                "iam:ListRoles","logs:CreateLogDelivery","logs:CreateLogGroup",
                "logs:CreateLogStream","logs:Describe*","logs:FilterLogEvents",
                "logs:GetLogEvents","logs:PutLogEvents","sns:ListTopics"],"Resource":"*"},
            {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:DeleteObject",
                "s3:AbortMultipartUpload"],
             "Resource":["arn:aws:s3:::*SageMaker*","arn:aws:s3:::*Sagemaker*",
                "arn:aws:s3:::*sagemaker*","arn:aws:s3:::*aws-glue*"]},
            {"Effect":"Allow","Action":["s3:CreateBucket","s3:GetBucketLocation","s3:ListBucket",
                "s3:ListAllMyBuckets","s3:GetBucketCors","s3:PutBucketCors"],"Resource":"*"},
            {"Effect":"Allow","Action":["sns:Subscribe","sns:CreateTopic","sns:Publish"],
             "Resource":["arn:aws:sns:*:*:*SageMaker*","arn:aws:sns:*:*:*Sagemaker*",
                "arn:aws:sns:*:*:*sagemaker*"]},
            {"Effect":"Allow","Action":"iam:PassRole","Resource":"arn:aws:iam::*:role/*",
             "Condition":{"StringEquals":{"iam:PassedToService":["sagemaker.amazonaws.com",
                "glue.amazonaws.com","robomaker.amazonaws.com","states.amazonaws.com"]}}}]}"#,
    },
    AwsManaged {
        name: "AmazonSageMakerReadOnly",
        document: r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["sagemaker:Describe*","sagemaker:List*",
                "sagemaker:BatchGetMetrics","sagemaker:GetSearchSuggestions","sagemaker:Search",
                "application-autoscaling:Describe*","cloudwatch:DescribeAlarms",
                "logs:DescribeLogStreams","logs:GetLogEvents"],"Resource":"*"}]}"#,
    },
    AwsManaged {
        name: "CloudWatchFullAccess",
        document: r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["cloudwatch:*","logs:*","sns:*","iam:GetPolicy",
                "iam:GetPolicyVersion","iam:GetRole","application-autoscaling:Describe*"],
             "Resource":"*"}]}"#,
    },
    AwsManaged {
        name: "CloudWatchLogsFullAccess",
        document: r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["logs:*","cloudwatch:GenerateQuery"],"Resource":"*"}]}"#,
    },
    AwsManaged {
        name: "CloudWatchLogsReadOnlyAccess",
        document: r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["logs:Describe*","logs:Get*","logs:List*",
                "logs:StartQuery","logs:StopQuery","logs:TestMetricFilter","logs:FilterLogEvents",
                "logs:StartLiveTail","logs:StopLiveTail"],"Resource":"*"}]}"#,
    },
    AwsManaged {
        name: "IAMFullAccess",
        document: r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["iam:*"],"Resource":"*"}]}"#,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Kind, Policy};

    #[test]
    fn all_can_be_read() {
        for policy in ALL {
            assert!(Policy::parse(policy.document, Kind::Identity).is_ok(), "{}", policy.name);
            assert!(AwsManaged::find(&policy.arn()).is_some());
        }
        assert!(ALL.is_sorted_by_key(|policy| policy.name));
    }
}
