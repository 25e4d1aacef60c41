"""The options of `ddb-lease template`."""

from __future__ import annotations

import argparse

from ddb_lease.cli import pages
from ddb_lease.cli.deferred import deferred
from ddb_lease.cli.options import where
from ddb_lease.cli.options.bounds import ROLES


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command, with a subcommand for each kind."""
    parser = subparsers.add_parser(
        "template",
        help="print the table and its permissions for CloudFormation, Terraform or IAM",
        **pages.page(
            "Print a template of the table and of the permissions of each role. Sends nothing.",
            "template cloudformation > ddb-lease.yaml",
            "template iam --role worker",
        ),
    )
    kinds = parser.add_subparsers(metavar="kind", required=True)
    stack = kinds.add_parser(
        "cloudformation",
        help="the table and a managed policy for each role, in YAML",
        **pages.page(
            "Print the table and a managed policy for each role as a CloudFormation template, in YAML.",
            "template cloudformation > ddb-lease.yaml",
            "template cloudformation --table staging",
        ),
    )
    stack.set_defaults(execute=deferred("template", "execute_cloudformation"))
    configuration = kinds.add_parser(
        "terraform",
        help="the same for Terraform's AWS provider, in HCL",
        **pages.page(
            "Print the table and a policy for each role for Terraform's AWS provider, in HCL.",
            "template terraform > ddb-lease.tf",
            "template terraform --table staging",
        ),
    )
    configuration.set_defaults(execute=deferred("template", "execute_terraform"))
    policies = kinds.add_parser(
        "iam",
        help="the policies alone, in JSON",
        **pages.page(
            "Print the policy of each role, or of one, in JSON.",
            "template iam --role worker",
            "template iam --role deployer --optional",
        ),
    )
    policies.set_defaults(execute=deferred("template", "execute_iam"))
    for kind in (stack, configuration, policies):
        where.add_table_option(kind)
    policies.add_argument("--role", choices=ROLES, help="this role's policy alone (default: all, by role)")
    policies.add_argument(
        "--optional",
        action="store_true",
        help="also the actions that a role does without, in statements whose Sid says so: a deployer's UpdateTable, "
        "which options of create-table need on a table that exists, and DescribeGlobalTable",
    )
    policies.add_argument(
        "--arn", help="the table's ARN (default: one with --table and a placeholder for region and account)"
    )
