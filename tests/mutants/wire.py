"""The wire: what makes it step aside, and what it checks."""

from tests.mutants.mutant import Chapter, Mutant

_HOOKS = "dynamodb/hooks.py"
_JSON = "dynamodb/json_protocol.py"
_POOL = "dynamodb/pool.py"
_SIGNATURE = "dynamodb/signature.py"
_STORE = "dynamodb/store.py"
_TEMPLATE = "dynamodb/template.py"
_WIRE = "dynamodb/wire.py"
_TESTS = "tests/dynamodb/test_wire.py"

WIRE = Chapter(
    title="How requests are sent",
    mutants=(
        Mutant(
            name="a handler that is not botocore's is a hook",
            module=_HOOKS,
            target="Hooks._look",
            code="not (module in _OWN or module.startswith(_OURS) or (module, name) == _FINDS_NOTHING)",
            without="False",
            noticed_by=(f"{_TESTS}::test_who_hooks_into_the_client_sees_every_call",),
        ),
        Mutant(
            name="a new handler is noticed",
            module=_HOOKS,
            target="Hooks.found",
            code="registered is not before",
            without="before is None",
            noticed_by=(f"{_TESTS}::test_who_hooks_into_the_client_sees_every_call",),
        ),
        Mutant(
            name="a replaced function is a hook",
            module=_HOOKS,
            target="Hooks._replaced_now",
            code="getattr(owner, name, None) is not function",
            without="False",
            noticed_by=(f"{_TESTS}::test_who_wraps_botocores_functions_sees_every_call",),
        ),
        Mutant(
            name="a method replaced on the client is a hook",
            module=_HOOKS,
            target="Hooks._replaced_now",
            code="method in own",
            without="False",
            noticed_by=(f"{_TESTS}::test_who_hooks_into_the_client_sees_every_call",),
        ),
        Mutant(
            name="a template signs as botocore did",
            module=_TEMPLATE,
            target="template_of",
            code="ours[AUTHORIZATION] == lower[AUTHORIZATION.lower()]",
            without="True",
            noticed_by=(
                "tests/dynamodb/test_signature.py::test_there_is_no_template_of_what_is_signed_in_a_way_that_we_do_not_know",
            ),
        ),
        Mutant(
            name="what belongs to one call is in no template",
            module=_TEMPLATE,
            target="template_of",
            code="name.lower() not in _OF_ONE_CALL",
            without="True",
            noticed_by=("tests/dynamodb/test_signature.py::test_a_header_of_one_call_is_in_no_template",),
        ),
        Mutant(
            name="another account has another endpoint",
            module=_TEMPLATE,
            target="Template.fits",
            code="account_of(credentials) == self.account",
            without="True",
            noticed_by=(f"{_TESTS}::test_another_accounts_credentials_go_to_its_own_endpoint",),
        ),
        Mutant(
            name="a key is good for one day and one secret",
            module=_SIGNATURE,
            target="Signer._key",
            code="(of, on) != (secret, day)",
            without="not key",
            noticed_by=(
                "tests/dynamodb/test_signature.py::test_a_key_is_derived_anew_for_another_day_and_for_another_secret",
            ),
        ),
        Mutant(
            name="an answer's checksum is right",
            module=_JSON,
            target="answer_of",
            code="checksum != (actual := str(zlib.crc32(said)))",
            without="False",
            noticed_by=(f"{_TESTS}::test_an_answer_with_a_wrong_checksum_is_none",),
        ),
        Mutant(
            name="binary values are decoded",
            module=_JSON,
            target="_plain",
            code="""b'"B' in said""",
            without="False",
            noticed_by=(f"{_TESTS}::test_an_answer_means_what_botocore_makes_of_it",),
        ),
        Mutant(
            name="a closed client's connections are opened anew",
            module=_POOL,
            target="Pool.post",
            code="below.ClosedPoolError",
            without="()",
            noticed_by=(f"{_TESTS}::test_connections_that_were_closed_from_below_are_opened_anew",),
        ),
        Mutant(
            name="who closes the client closes the connections",
            module=_POOL,
            target="Pool._open",
            code="weakref.ref(connections)",
            without="lambda: connections",
            noticed_by=(f"{_TESTS}::test_a_closed_client_leaves_no_connection_open",),
        ),
        Mutant(
            name="in a traced Lambda invocation botocore sends the trace's id",
            module=_WIRE,
            target="Wire._must_step_aside",
            code="os.environ.get(_TRACE_ID)",
            without="False",
            noticed_by=(f"{_TESTS}::test_in_a_lambda_function_each_request_carries_its_own_trace",),
        ),
        Mutant(
            name="a table named by its ARN has its account's endpoint",
            module=_STORE,
            target="Store._use",
            code='not self.address.table.startswith("arn:")',
            without="True",
            noticed_by=(f"{_TESTS}::test_a_table_named_by_its_arn_takes_botocores_path",),
        ),
        Mutant(
            name="a function that was replaced before is a hook",
            module=_HOOKS,
            target="Hooks.__init__",
            code="not _is_botocores(function)",
            without="False",
            noticed_by=(f"{_TESTS}::test_a_class_made_by_the_session_is_called",),
        ),
        Mutant(
            name="a recorded history is a hook",
            module=_HOOKS,
            target="Hooks.found",
            code="inside.recorded",
            without="False",
            noticed_by=(f"{_TESTS}::test_who_records_botocores_history_has_every_call",),
        ),
        Mutant(
            name="only what we know is signed",
            module=_TEMPLATE,
            target="template_of",
            code='not _SIGNED.issuperset(names.split(";"))',
            without="False",
            noticed_by=(
                "tests/dynamodb/test_signature.py::test_there_is_no_template_where_more_is_signed_than_we_know",
            ),
        ),
        Mutant(
            name="a header that is not ASCII is left to botocore",
            module=_TEMPLATE,
            target="template_of",
            code="not all(value.isascii() for value in texts.values())",
            without="False",
            noticed_by=(
                "tests/dynamodb/test_signature.py::test_there_is_no_template_of_what_is_signed_in_a_way_that_we_do_not_know",
            ),
        ),
        Mutant(
            name="a client of the user's own takes botocore's path",
            module=_STORE,
            target="Store._use",
            code="self._connection.client is None",
            without="True",
            noticed_by=(f"{_TESTS}::test_a_client_of_the_users_own_takes_botocores_path",),
        ),
    ),
)
