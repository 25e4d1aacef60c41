"""The templates pass their own tools' checks, describe the table, and grant what the lists grant."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import uuid
from pathlib import Path

import hcl2
import pytest
import yaml

from ddb_lease import LeaseBucket
from ddb_lease._runtime.clock import SystemClock
from ddb_lease.cli import main
from ddb_lease.dynamodb import ConnectionSettings
from ddb_lease.dynamodb.permissions import ROLES, actions
from ddb_lease.dynamodb.table import create_table
from tests.conftest import QUICK

LONG = 120.0
CFN_LINT = str(Path(sysconfig.get_path("scripts"), "cfn-lint"))
PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
EXCERPTS = re.findall(r"^```console\n\$ (ddb-lease template .*)\n((?:.*\n)*?)```$", PAGE, flags=re.MULTILINE)
TABLE_ARN = {"Fn::GetAtt": ["Table", "Arn"]}


@pytest.fixture(autouse=True)
def _default_table(monkeypatch):
    monkeypatch.delenv("DDB_LEASE_TABLE", raising=False)


@pytest.fixture
def printed(capsys):
    """Runs a command line here; returns what it printed."""

    def run(line):
        assert main.main(shlex.split(line)) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return run


@pytest.fixture
def lint(tmp_path):
    """What cfn-lint says about a template, notes included; as a process, since its own warnings are none of ours."""

    def run(text):
        file = tmp_path / "template.yaml"
        file.write_text(text)
        command = [CFN_LINT, "--include-checks", "I", "--format", "parseable", "--", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, cwd=tmp_path)
        assert done.stderr == ""
        assert bool(done.stdout) == bool(done.returncode)
        return done.stdout

    return run


def words_of(value):
    """What python-hcl2 gave, without the quotes and marks that it keeps; its 8.1.0 leaves truth values as bare words."""
    match value:
        case dict():
            return {words_of(k): words_of(v) for k, v in value.items() if k != "__is_block__"}
        case list():
            return [words_of(v) for v in value]
        case "true" | "false":
            return value == "true"
        case str():
            return value.strip('"')
        case _:
            return value


def block(parsed, kind, *labels):
    """The one block of this kind with these labels."""
    found = parsed[kind]
    for label in labels:
        found = [body[label] for body in found if label in body]
    (only,) = found
    return only


# CloudFormation.


@pytest.mark.parametrize("option", ["", "--table other.table_2-x", "--table 1.5"])
def test_cfn_lint_has_nothing_to_say_about_the_cloudformation_template(printed, lint, option):
    assert lint(printed(f"template cloudformation {option}")) == ""


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("dynamodb:Query", "dynamodb:Qery", "W3037"),
        ("AttributeType: S", "AttributeType: T", "E3030"),
        ("KeyType: RANGE", "KeyType: RNGE", "E3002"),
        ("[Table, Arn]", "[Tabel, Arn]", "E1010"),
    ],
)
def test_cfn_lint_would_tell_of_a_mistake_in_the_table_or_a_policy(printed, lint, right, wrong, rule):
    text = printed("template cloudformation")
    assert right in text
    assert f":{rule}:" in lint(text.replace(right, wrong))


def test_the_cloudformation_template_grants_each_role_its_list_on_the_one_table(printed):
    resources = yaml.safe_load(printed("template cloudformation"))["Resources"]
    policies = {name: thing for name, thing in resources.items() if thing["Type"] == "AWS::IAM::ManagedPolicy"}
    assert set(policies) == {f"{role.capitalize()}Policy" for role in ROLES} == set(resources) - {"Table"}
    for role in ROLES:
        (statement,) = policies[f"{role.capitalize()}Policy"]["Properties"]["PolicyDocument"]["Statement"]
        assert statement == {
            "Sid": role.capitalize(),
            "Effect": "Allow",
            "Action": actions(role),
            "Resource": TABLE_ARN,
        }


def test_the_cloudformation_table_outlives_its_stack_is_encrypted_and_protected(printed):
    template = yaml.safe_load(printed("template cloudformation"))
    table = template["Resources"]["Table"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    assert table["Properties"]["DeletionProtectionEnabled"] is True
    assert table["Properties"]["SSESpecification"] == {
        "SSEEnabled": True,
        "SSEType": "KMS",
        "KMSMasterKeyId": {"Fn::If": ["HasKmsKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]},
    }
    cap = table["Properties"]["OnDemandThroughput"]["Fn::If"][1]
    for what in ("Read", "Write"):
        assert template["Parameters"][f"Max{what}Units"]["Default"] == 0
        assert cap[f"Max{what}RequestUnits"] == {
            "Fn::If": [f"HasMax{what}Units", {"Ref": f"Max{what}Units"}, {"Ref": "AWS::NoValue"}]
        }
    restoring = template["Parameters"]["PointInTimeRecovery"]
    assert restoring["Default"] == "false"
    assert "dead leases" in restoring["Description"]


@pytest.fixture
def made_from_template(client, printed):
    """A table with the properties of the template, as CloudFormation would ask DynamoDB for it; returns its name."""
    name = f"template-{uuid.uuid4().hex[:6]}"
    template = yaml.safe_load(printed(f"template cloudformation --table {name}"))
    properties = template["Resources"]["Table"]["Properties"]
    assert properties.pop("TableName") == {"Ref": "TableName"}
    assert template["Parameters"]["TableName"]["Default"] == name
    ttl = properties.pop("TimeToLiveSpecification")
    del properties["PointInTimeRecoverySpecification"]  # a request of its own, and off
    encryption = properties.pop("SSESpecification")
    with_cap = properties.pop("OnDemandThroughput")["Fn::If"]
    assert (with_cap[0], with_cap[2]) == ("HasCap", {"Ref": "AWS::NoValue"})
    client.create_table(
        TableName=name,
        SSESpecification={"Enabled": encryption["SSEEnabled"], "SSEType": encryption["SSEType"]},
        **properties,
    )
    client.update_time_to_live(TableName=name, TimeToLiveSpecification=ttl)
    yield name
    client.update_table(TableName=name, DeletionProtectionEnabled=False)
    client.delete_table(TableName=name)


def test_a_lease_is_had_on_a_table_made_from_the_template(engine, session, client, made_from_template):
    described = client.describe_table(TableName=made_from_template)["Table"]
    assert described["DeletionProtectionEnabled"] is True
    where = {"session": session, "endpoint_url": engine.endpoint_url}
    report = create_table(made_from_template, connection=ConnectionSettings(**where), clock=SystemClock())
    assert (report.created, report.ttl_enabled) == (False, False), "the template leaves nothing for create-table to do"
    bucket = LeaseBucket("b", max_tokens=1, lease_seconds=30, timing=QUICK, table=made_from_template, **where)
    with contextlib.closing(bucket), bucket.acquire(timeout=5) as lease:
        assert lease.held
        assert bucket.try_acquire() is None


# Terraform.


def test_the_terraform_table_is_the_one_of_cloudformation(printed):
    cloudformation = yaml.safe_load(printed("template cloudformation --table mine"))
    properties = cloudformation["Resources"]["Table"]["Properties"]
    parsed = words_of(hcl2.loads(printed("template terraform --table mine")))
    table = block(parsed, "resource", "aws_dynamodb_table", "leases")
    assert block(parsed, "variable", "table_name")["default"] == "mine"
    assert table["name"] == "${var.table_name}"
    assert [(table["hash_key"], "HASH"), (table["range_key"], "RANGE")] == [
        (key["AttributeName"], key["KeyType"]) for key in properties["KeySchema"]
    ]
    assert [(a["name"], a["type"]) for a in table["attribute"]] == [
        (a["AttributeName"], a["AttributeType"]) for a in properties["AttributeDefinitions"]
    ]
    assert table["billing_mode"] == properties["BillingMode"]
    ttl = properties["TimeToLiveSpecification"]
    assert table["ttl"] == [{"attribute_name": ttl["AttributeName"], "enabled": True}]
    assert table["deletion_protection_enabled"] is True
    assert table["server_side_encryption"] == [{"enabled": True, "kms_key_arn": "${var.kms_key_arn}"}]
    assert table["point_in_time_recovery"] == [{"enabled": "${var.point_in_time_recovery}"}]
    cap = block({"dynamic": table["dynamic"]}, "dynamic", "on_demand_throughput")
    for what in ("read", "write"):
        assert block(parsed, "variable", f"max_{what}_units")["default"] in {None, "null"}
        (content,) = cap["content"]
        assert content[f"max_{what}_request_units"] == f"${{var.max_{what}_units}}"
    restoring = block(parsed, "variable", "point_in_time_recovery")
    assert restoring["default"] is False
    assert restoring["description"] == cloudformation["Parameters"]["PointInTimeRecovery"]["Description"]


def test_the_terraform_policies_grant_each_role_its_list_on_the_one_table(printed):
    parsed = words_of(hcl2.loads(printed("template terraform")))
    (names,) = parsed["locals"]
    assert names["actions"] == {role: actions(role) for role in ROLES}
    policy = block(parsed, "resource", "aws_iam_policy", "role")
    assert policy["for_each"] == "${local.actions}"
    document = re.sub(r"\s+", " ", policy["policy"])
    for part in ("Action = each.value", 'Effect = "Allow"', "Resource = aws_dynamodb_table.leases.arn"):
        assert part in document


@pytest.fixture
def terraform(tmp_path, printed):
    """Runs terraform beside the template, out of reach of the user's own settings."""
    binary = shutil.which("terraform")
    if binary is None:
        pytest.skip("no terraform on the path; python-hcl2 has read the configuration all the same")
    (tmp_path / "main.tf").write_text(printed("template terraform"))
    quiet = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_REGISTRY_DISCOVERY_RETRY": "0"}
    env = {name: value for name, value in os.environ.items() if not name.startswith("TF_")} | quiet

    def run(*arguments):
        command = [binary, *arguments, "-no-color"] if arguments[0] != "fmt" else [binary, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=LONG)

    return run


def test_terraform_would_format_it_the_same(terraform):
    done = terraform("fmt", "-check", "-diff")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_terraform_finds_it_valid(terraform):
    providers = os.environ.get("DDB_LEASE_TERRAFORM_PROVIDERS")
    if not providers:  # no test asks the network for it
        pytest.skip(
            "no AWS provider: DDB_LEASE_TERRAFORM_PROVIDERS names a folder that `terraform providers mirror` made"
        )
    begun = terraform("init", "-backend=false", "-input=false", f"-plugin-dir={providers}")
    assert begun.returncode == 0, begun.stderr
    done = terraform("validate")
    assert done.returncode == 0, done.stderr


# IAM.


def test_all_roles_come_as_one_object_and_each_alone(printed):
    every = json.loads(printed("template iam"))
    assert set(every) == set(ROLES)
    for role in ROLES:
        assert json.loads(printed(f"template iam --role {role}")) == every[role]
        (statement,) = every[role]["Statement"]
        assert every[role]["Version"] == "2012-10-17"
        assert statement["Action"] == actions(role)
        assert statement["Resource"] == "arn:aws:dynamodb:us-east-1:123456789012:table/ddb-lease"


def test_a_policy_is_limited_to_the_table_that_is_named(printed):
    (statement,) = json.loads(printed("template iam --role worker --table mine"))["Statement"]
    assert statement["Resource"] == "arn:aws:dynamodb:us-east-1:123456789012:table/mine"
    arn = "arn:aws-cn:dynamodb:cn-north-1:210987654321:table/theirs"
    (statement,) = json.loads(printed(f"template iam --role worker --arn {arn}"))["Statement"]
    assert statement["Resource"] == arn


def test_what_a_role_does_without_comes_on_request_and_says_so(printed):
    arn = "arn:aws-cn:dynamodb:cn-north-1:210987654321:table/theirs"
    plain = json.loads(printed(f"template iam --arn {arn}"))
    every = json.loads(printed(f"template iam --arn {arn} --optional"))
    deployer = every["deployer"]["Statement"]
    assert deployer.pop() == {
        "Sid": "DeployerOptionalGlobalTable",
        "Effect": "Allow",
        "Action": ["dynamodb:DescribeGlobalTable"],
        "Resource": "arn:aws-cn:dynamodb::210987654321:global-table/theirs",
    }
    assert deployer.pop() == {
        "Sid": "DeployerOptional",
        "Effect": "Allow",
        "Action": ["dynamodb:UpdateTable"],
        "Resource": arn,
    }
    assert every == plain, "nothing else is added, to any role"


@pytest.mark.parametrize("option", ["", "--optional"])
def test_cfn_lint_has_nothing_to_say_about_the_policy_documents(printed, lint, option):
    documents = json.loads(printed(f"template iam {option}"))
    policies = {
        f"{role.capitalize()}Policy": {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": document}}
        for role, document in documents.items()
    }
    # An ARN that is written out has a partition, which cfn-lint would rather have from the stack: that note is not ours.
    told = [line for line in lint(json.dumps({"Resources": policies})).splitlines() if ":I3042:" not in line]
    assert told == []


# What is common to all.


@pytest.mark.parametrize("kind", ["cloudformation", "terraform", "iam"])
def test_the_table_is_the_option_s_else_the_variable_s_else_the_default(kind, printed, monkeypatch):
    assert "ddb-lease" in printed(f"template {kind}")
    monkeypatch.setenv("DDB_LEASE_TABLE", "from-variable")
    assert "from-variable" in printed(f"template {kind}")
    assert "from-option" in printed(f"template {kind} --table from-option")


@pytest.mark.parametrize(
    "line",
    [
        "template cloudformation --table 'a\"b'",
        "template terraform --table 'a${b}'",
        "template terraform --table ab",
        "template iam --table a/b",
        "template iam --table 'abc\n'",
        "template iam --arn 'arn:aws:dynamodb:*:*:table/*'",
        "template iam --arn abc",
    ],
)
def test_a_name_that_cannot_be_a_table_is_told_in_one_line_with_code_2(line, capsys):
    assert main.main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"ddb-lease: .* is not (a table name|the ARN of a table).*\n", err)


@pytest.mark.parametrize("line", ["template", "template pulumi", "template iam --role admin"])
def test_kinds_and_roles_that_there_are_not_are_refused_with_usage(line, capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(shlex.split(line))
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: ddb-lease template")


# The page.


def test_the_page_shows_each_kind():
    assert {line.split()[2] for line, _ in EXCERPTS} == {"cloudformation", "terraform", "iam"}


@pytest.mark.parametrize(("line", "shown"), EXCERPTS, ids=[line for line, _ in EXCERPTS])
def test_what_the_page_shows_is_what_is_printed(line, shown, printed):
    """A line of `...` stands for what is left out; everything between is there, word for word and in order."""
    told = "\n" + printed(line.removeprefix("ddb-lease "))
    at = 0
    for part in re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE):
        found = told.find("\n" + part, at)
        assert found >= 0, part
        at = found + len(part)
