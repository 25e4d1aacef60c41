"""`ddb-lease template`: the table and its permissions as CloudFormation, Terraform, or IAM policies.

Invariants: it prints and sends nothing. The keys come from `dynamodb.table`, the permissions from
`dynamodb.permissions`; neither is written a second time here. Names are checked before they go into a text, so that no
name can end a quotation.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from typing import Final

from ddb_lease.cli.streams import show
from ddb_lease.dynamodb.permissions import ROLES, actions, policy
from ddb_lease.dynamodb.table import KEYS, TTL_ATTRIBUTE
from ddb_lease.errors import ConfigurationError

_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{3,255}")  # DynamoDB's own rule
_ARN: Final = re.compile(rf"arn:aws[a-z-]*:dynamodb:[a-z0-9-]+:[0-9]{{12}}:table/{_NAME.pattern}")
_PLACEHOLDER: Final = "arn:aws:dynamodb:us-east-1:123456789012:table/"
"""The account of AWS's own examples: a valid ARN, and nobody's table."""

_KEY: Final = "A customer managed key. Its key policy must let all roles use it through DynamoDB."
_CAP: Final = (
    "At most so many {} request units a second. What goes beyond is throttled, renewals too, so choose it well above "
    "your need."
)
_RESTORING: Final = (
    "Off by default, as the first acquire makes a bucket anew. A restored table brings dead leases back, which expire "
    "by themselves, and lacks those taken since. So move to it only when no lease is held, and turn TTL on again."
)


def execute_cloudformation(options: argparse.Namespace) -> int:
    """Print the CloudFormation template."""
    show(cloudformation(_checked(options.table)), end="")
    return 0


def execute_terraform(options: argparse.Namespace) -> int:
    """Print the Terraform configuration."""
    show(terraform(_checked(options.table)), end="")
    return 0


def execute_iam(options: argparse.Namespace) -> int:
    """Print the policy documents."""
    arn = options.arn or _PLACEHOLDER + _checked(options.table)
    if not _ARN.fullmatch(arn):
        raise ConfigurationError(
            f"{arn!r} is not the ARN of a table; write {_PLACEHOLDER}NAME with your region and account"
        )
    documents = {role: policy(role, arn=arn, optional=options.optional) for role in ROLES}
    show(json.dumps(documents[options.role] if options.role else documents, indent=2))
    return 0


def _checked(table: str) -> str:
    if not _NAME.fullmatch(table):
        raise ConfigurationError(f"{table!r} is not a table name: 3 to 255 letters, digits, '_', '.' and '-'")
    return table


def cloudformation(table: str) -> str:
    """The CloudFormation template, in YAML without tags: any YAML reader takes it."""
    attributes = "\n".join(f"        - AttributeName: {name}\n          AttributeType: S" for name, _ in KEYS)
    schema = "\n".join(f"        - AttributeName: {name}\n          KeyType: {kind}" for name, kind in KEYS)
    policies = "".join(_managed_policy(role) for role in ROLES)
    outputs = "".join(f"  {role.capitalize()}PolicyArn:\n    Value: {{Ref: {_logical(role)}}}\n" for role in ROLES)
    return f"""\
AWSTemplateFormatVersion: "2010-09-09"
Description: The table of ddb-lease, and a managed policy for each role. Deploy with CAPABILITY_IAM.

Parameters:
  TableName:
    Type: String
    Default: "{table}"
    AllowedPattern: "[a-zA-Z0-9_.-]{{3,255}}"
  KmsKeyArn:
    Type: String
    Default: ""
    Description: >-
{_folded(f"{_KEY} Empty means the key aws/dynamodb.")}
  PointInTimeRecovery:
    Type: String
    AllowedValues: ["true", "false"]
    Default: "false"
    Description: >-
{_folded(_RESTORING)}
  MaxReadUnits:
    Type: Number
    Default: 0
    MinValue: 0
    Description: >-
{_folded(f"{_CAP.format('read')} 0 means no cap.")}
  MaxWriteUnits:
    Type: Number
    Default: 0
    MinValue: 0
    Description: >-
{_folded(f"{_CAP.format('write')} 0 means no cap.")}

Conditions:
  HasKmsKey:
    Fn::Not: [{{"Fn::Equals": [{{Ref: KmsKeyArn}}, ""]}}]
  HasMaxReadUnits:
    Fn::Not: [{{"Fn::Equals": [{{Ref: MaxReadUnits}}, "0"]}}]
  HasMaxWriteUnits:
    Fn::Not: [{{"Fn::Equals": [{{Ref: MaxWriteUnits}}, "0"]}}]
  HasCap:
    Fn::Or: [{{Condition: HasMaxReadUnits}}, {{Condition: HasMaxWriteUnits}}]

Resources:
  Table:
    Type: AWS::DynamoDB::Table
    # If the stack is deleted, the table stays: it may have holders.
    DeletionPolicy: Retain
    UpdateReplacePolicy: Retain
    Properties:
      TableName: {{Ref: TableName}}
      AttributeDefinitions:
{attributes}
      KeySchema:
{schema}
      BillingMode: PAY_PER_REQUEST
      TimeToLiveSpecification:
        AttributeName: {TTL_ATTRIBUTE}
        Enabled: true
      DeletionProtectionEnabled: true
      SSESpecification:
        SSEEnabled: true
        SSEType: KMS
        KMSMasterKeyId:
          Fn::If: [HasKmsKey, {{Ref: KmsKeyArn}}, {{Ref: "AWS::NoValue"}}]
      PointInTimeRecoverySpecification:
        PointInTimeRecoveryEnabled: {{Ref: PointInTimeRecovery}}
      OnDemandThroughput:
        Fn::If:
          - HasCap
          - MaxReadRequestUnits:
              Fn::If: [HasMaxReadUnits, {{Ref: MaxReadUnits}}, {{Ref: "AWS::NoValue"}}]
            MaxWriteRequestUnits:
              Fn::If: [HasMaxWriteUnits, {{Ref: MaxWriteUnits}}, {{Ref: "AWS::NoValue"}}]
          - {{Ref: "AWS::NoValue"}}
{policies}
Outputs:
  TableName:
    Value: {{Ref: Table}}
  TableArn:
    Value: {{"Fn::GetAtt": [Table, Arn]}}
{outputs}"""


def _folded(text: str) -> str:
    indent = " " * 6
    return textwrap.fill(text, width=120, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _logical(role: str) -> str:
    return f"{role.capitalize()}Policy"


def _managed_policy(role: str) -> str:
    granted = "\n".join(f"              - {action}" for action in actions(role))
    return f"""
  {_logical(role)}:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      Description: {role.capitalize()}s of a ddb-lease table
      PolicyDocument:
        Version: "2012-10-17"
        Statement:
          - Sid: {role.capitalize()}
            Effect: Allow
            Action:
{granted}
            Resource: {{"Fn::GetAtt": [Table, Arn]}}
"""


def terraform(table: str) -> str:
    """The Terraform configuration, as `terraform fmt` would leave it."""
    (hash_key,), (range_key,) = ([n for n, kind in KEYS if kind == wanted] for wanted in ("HASH", "RANGE"))
    attributes = "\n".join(f'  attribute {{\n    name = "{name}"\n    type = "S"\n  }}\n' for name, _ in KEYS)
    width = max(map(len, ROLES))
    granted = "\n".join(f"    {role:<{width}} = {json.dumps(actions(role))}" for role in ROLES)
    return f"""\
# The table of ddb-lease, and a policy for each role.

terraform {{
  required_providers {{
    aws = {{
      source  = "hashicorp/aws"
      version = ">= 5.80" # on_demand_throughput, with one of its two values
    }}
  }}
}}

variable "table_name" {{
  type    = string
  default = "{table}"
}}

variable "kms_key_arn" {{
  type        = string
  default     = null
  description = "{_KEY} Null means the key aws/dynamodb."
}}

variable "point_in_time_recovery" {{
  type        = bool
  default     = false
  description = "{_RESTORING}"
}}

variable "max_read_units" {{
  type        = number
  default     = null
  description = "{_CAP.format("read")} Null means no cap."
}}

variable "max_write_units" {{
  type        = number
  default     = null
  description = "{_CAP.format("write")} Null means no cap."
}}

resource "aws_dynamodb_table" "leases" {{
  name                        = var.table_name
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "{hash_key}"
  range_key                   = "{range_key}"
  deletion_protection_enabled = true

{attributes}
  ttl {{
    attribute_name = "{TTL_ATTRIBUTE}"
    enabled        = true
  }}

  server_side_encryption {{
    enabled     = true
    kms_key_arn = var.kms_key_arn
  }}

  point_in_time_recovery {{
    enabled = var.point_in_time_recovery
  }}

  dynamic "on_demand_throughput" {{
    for_each = var.max_read_units == null && var.max_write_units == null ? [] : [1]
    content {{
      max_read_request_units  = var.max_read_units
      max_write_request_units = var.max_write_units
    }}
  }}

  lifecycle {{
    prevent_destroy = true # it may have holders
  }}
}}

locals {{
  actions = {{
{granted}
  }}
}}

resource "aws_iam_policy" "role" {{
  for_each    = local.actions
  name_prefix = "${{substr(var.table_name, 0, 80)}}-${{each.key}}-"
  description = "${{title(each.key)}}s of a ddb-lease table"

  policy = jsonencode({{
    Version = "2012-10-17"
    Statement = [{{
      Sid      = title(each.key)
      Effect   = "Allow"
      Action   = each.value
      Resource = aws_dynamodb_table.leases.arn
    }}]
  }})
}}

output "table_arn" {{
  value = aws_dynamodb_table.leases.arn
}}

output "policy_arns" {{
  value = {{ for role, policy in aws_iam_policy.role : role => policy.arn }}
}}
"""
