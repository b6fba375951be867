%% A media gateway on the megaco application of Erlang/OTP: what our controller says is read and answered by a stack
%% that is not ours.
%%
%%   erl -noshell -run megaco_gateway main ControllerPort pretty|compact udp|tcp|sctp [Number Package,Package…]
%%
%% Its mId is [127.0.0.1]:Number, 2945 by default; the packages are what it lists when it is asked, none by default.
%% It registers at 127.0.0.1:ControllerPort and takes commands, one per line, from standard input; its end stops the gateway.
%%   connected     reports that the TCP connection of that termination is up
%%   notify        reports that the TLS session of the last termination that was modified broke
%%   disconnected, failover, restored  registers again with its contexts;  restart  without;  leave  goes out of service
%%   graceful SECONDS  wants no new sessions and will leave then;  stay  takes that back
%%   overload      reports ocp/mg_overload;  forget  loses its contexts and says nothing
%%   refuse CODE   refuses the next Add;  delay MS  answers the next request of a context so much later;  pending MS  the same,
%%                 and says so with TransactionPending
%% What happens goes out as lines: "registered", "add C", "modify C", "subtract C", "audit C", "acknowledged", "left",
%% "packages" (they were audited), "handoff" and "forced" (its controller said so; after a hand-off it registers anew).
-module(megaco_gateway).
-export([main/1]).

-include_lib("megaco/include/megaco.hrl").
-include_lib("megaco/include/megaco_message_v2.hrl").
-include("megaco_user.hrl").

-define(FINGERPRINT, "12:34:56:78:9A:BC:DE:F0:12:34:56:78:9A:BC:DE:F0:12:34:56:78:9A:BC:DE:F0:12:34:56:78:9A:BC:DE:F0").

main([Controller, Encoding, Transport]) ->
    main([Controller, Encoding, Transport, "2945", ""]);
main([Controller, Encoding, Transport, Number, Packages]) ->
    ets:new(?MODULE, [named_table, public]),
    ets:insert(?MODULE, [{number, 1000}, {packages, string:lexemes(Packages, ",")}]),
    ok = application:start(megaco),
    Mid = {ip4Address, #'IP4Address'{address = [127, 0, 0, 1], portNumber = number(Number)}},
    ok = megaco:start_user(Mid, [
        {user_mod, ?MODULE}, {encoding_mod, encoder(Encoding)}, {encoding_config, []},
        {send_mod, sender(Transport)}, {protocol_version, 2}
    ]),
    Receiver = megaco:user_info(Mid, receive_handle),
    {ok, Sender, Pid} = open(Transport, list_to_integer(Controller), Receiver),
    {ok, Connection} = megaco:connect(Receiver, preliminary_mid, Sender, Pid),
    service_change(Connection, restart, "901 Cold Boot"),
    tell("registered", []),
    obey().

open("udp", Port, Receiver) ->
    {ok, Transport} = megaco_udp:start_transport(),
    {ok, Socket, Pid} = megaco_udp:open(Transport, [
        {port, 0}, {receive_handle, Receiver}, {udp_options, [{ip, {127, 0, 0, 1}}]}
    ]),
    {ok, megaco_udp:create_send_handle(Socket, {127, 0, 0, 1}, Port), Pid};
open("tcp", Port, Receiver) ->
    {ok, Transport} = megaco_tcp:start_transport(),
    megaco_tcp:connect(Transport, [{host, {127, 0, 0, 1}}, {port, Port}, {receive_handle, Receiver}]);
open("sctp", Port, Receiver) ->
    megaco_sctp:connect(Port, Receiver).

sender("udp") -> megaco_udp;
sender("tcp") -> megaco_tcp;
sender("sctp") -> megaco_sctp.

encoder("pretty") -> megaco_pretty_text_encoder;
encoder("compact") -> megaco_compact_text_encoder.

%% --- commands from standard input

obey() ->
    case io:get_line("") of
        "notify\n" -> changed("tlsbsc/BNCChange", "Rel");
        "connected\n" -> changed("tcpbcc/BNCChange", "Est");
        "disconnected\n" ->
            service_change(connection(), disconnected, "900 Service Restored"),
            tell("registered", []),
            obey();
        "failover\n" -> again(failover, "909 MGC Impending Failure");
        "restored\n" -> again(restart, "900 Service Restored");
        "restart\n" ->
            forget(),
            again(restart, "901 Cold Boot");
        "stay\n" -> again(restart, "918 Cancel Graceful");
        "graceful " ++ Seconds ->
            service_change(connection(), graceful, "905 Termination taken out of service", number(Seconds)),
            tell("graceful", []),
            obey();
        "forget\n" ->
            forget(),
            tell("ready", []),
            obey();
        "overload\n" ->
            Overload = #'ObservedEvent'{eventName = "ocp/mg_overload"},
            Told = #'NotifyRequest'{
                terminationID = [?megaco_root_termination_id],
                observedEventsDescriptor = #'ObservedEventsDescriptor'{requestId = 3, observedEventLst = [Overload]}
            },
            request(connection(), ?megaco_null_context_id, {notifyReq, Told}),
            tell("acknowledged", []),
            obey();
        "leave\n" ->
            service_change(connection(), forced, "905 Termination taken out of service"),
            tell("left", []),
            obey();
        "refuse " ++ Code -> instead({refuse, number(Code)});
        "delay " ++ Time -> instead({delay, number(Time)});
        "pending " ++ Time -> instead({pending, number(Time)});
        _ ->
            halt(0)
    end.

instead(What) ->
    ets:insert(?MODULE, What),
    tell("ready", []),
    obey().

changed(Event, Type) ->
    [{last, Context, Termination}] = ets:lookup(?MODULE, last),
    Changed = #'ObservedEvent'{
        eventName = Event, streamID = 1,
        eventParList = [#'EventParameter'{eventParameterName = "Type", value = [Type]}]
    },
    Notify = #'NotifyRequest'{
        terminationID = [Termination],
        observedEventsDescriptor = #'ObservedEventsDescriptor'{requestId = 1, observedEventLst = [Changed]}
    },
    request(connection(), Context, {notifyReq, Notify}),
    tell("acknowledged", []),
    obey().

again(Method, Reason) ->
    service_change(connection(), Method, Reason),
    tell("registered", []),
    obey().

forget() -> ets:match_delete(?MODULE, {{context, '_'}, '_'}).

number(Text) -> list_to_integer(string:trim(Text)).

service_change(Connection, Method, Reason) -> service_change(Connection, Method, Reason, asn1_NOVALUE).

service_change(Connection, Method, Reason, Delay) ->
    Parameters = #'ServiceChangeParm'{
        serviceChangeMethod = Method, serviceChangeReason = [Reason], serviceChangeVersion = 2, serviceChangeDelay = Delay,
        serviceChangeProfile = #'ServiceChangeProfile'{profileName = "iqprofile", version = 1}
    },
    Change = #'ServiceChangeRequest'{
        terminationID = [?megaco_root_termination_id], serviceChangeParms = Parameters
    },
    request(Connection, ?megaco_null_context_id, {serviceChangeReq, Change}).

%% A request must be answered by a reply without any error.
request(Connection, Context, Command) ->
    Action = #'ActionRequest'{contextId = Context, commandRequests = [#'CommandRequest'{command = Command}]},
    {_Version, {ok, [#'ActionReply'{errorDescriptor = asn1_NOVALUE, commandReply = [{_, Reply}]}]}} =
        megaco:call(Connection, [Action], []),
    case Reply of
        #'NotifyReply'{errorDescriptor = asn1_NOVALUE} -> ok;
        #'ServiceChangeReply'{serviceChangeResult = {serviceChangeResParms, _}} -> ok
    end.

connection() ->
    [{connection, Connection}] = ets:lookup(?MODULE, connection),
    Connection.

%% --- requests of the controller

handle_trans_request(Connection, 2, Actions) ->
    ets:insert(?MODULE, {connection, Connection}),
    [#'ActionRequest'{contextId = Context} | _] = Actions,
    case [taken(What) || What <- [delay, pending], is_session(Context)] of
        [[{delay, Time}], _] ->
            timer:sleep(Time),
            carry_out(Actions);
        [_, [{pending, Time}]] ->
            {pending, {Time, Actions}};
        _ ->
            carry_out(Actions)
    end.

handle_trans_long_request(_, _, {Time, Actions}) ->
    timer:sleep(Time),
    carry_out(Actions).

is_session(Context) -> Context =/= ?megaco_null_context_id andalso Context =/= ?megaco_all_context_id.

taken(What) -> ets:take(?MODULE, What).

carry_out(Actions) ->
    {discard_ack, lists:append([action(Action) || Action <- Actions])}.

action(#'ActionRequest'{contextId = ?megaco_all_context_id}) ->
    case [C || {{context, C}, _} <- ets:tab2list(?MODULE)] of
        [] ->
            Error = #'ErrorDescriptor'{errorCode = ?megaco_no_termination_id_matched_a_wildcard, errorText = "none"},
            [#'ActionReply'{contextId = ?megaco_all_context_id, errorDescriptor = Error}];
        Contexts ->
            [#'ActionReply'{contextId = C, commandReply = [audited(T) || T <- terminations(C)]} || C <- Contexts]
    end;
action(#'ActionRequest'{contextId = ?megaco_choose_context_id, commandRequests = Commands}) ->
    case taken(refuse) of
        [{refuse, Code}] ->
            Error = #'ErrorDescriptor'{errorCode = Code, errorText = "as it was told"},
            tell("refused ~w", [Code]),
            [#'ActionReply'{contextId = ?megaco_null_context_id, errorDescriptor = Error}];
        [] ->
            done(?megaco_choose_context_id, Commands)
    end;
action(#'ActionRequest'{contextId = Wanted, commandRequests = Commands}) ->
    case is_session(Wanted) andalso not ets:member(?MODULE, {context, Wanted}) of
        true ->
            Error = #'ErrorDescriptor'{errorCode = ?megaco_unknown_context_id, errorText = "unknown"},
            [#'ActionReply'{contextId = Wanted, errorDescriptor = Error}];
        false ->
            done(Wanted, Commands)
    end.

done(Wanted, Commands) ->
    Context = context(Wanted),
    [#'ActionReply'{contextId = Context, commandReply = [command(Context, C) || #'CommandRequest'{command = C} <- Commands]}].

context(?megaco_choose_context_id) ->
    Context = number(),
    ets:insert(?MODULE, {{context, Context}, []}),
    Context;
context(Context) ->
    Context.

command(Context, {addReq, #'AmmRequest'{descriptors = Descriptors}}) ->
    Termination = #megaco_term_id{id = ["ip", "1", "1", integer_to_list(number())]},
    ets:insert(?MODULE, {{context, Context}, terminations(Context) ++ [Termination]}),
    tell("add ~w", [Context]),
    {addReply, #'AmmsReply'{terminationID = [Termination], terminationAudit = chosen(Descriptors)}};
command(Context, {modReq, #'AmmRequest'{terminationID = [Termination], descriptors = Descriptors}}) ->
    case Context of
        ?megaco_null_context_id -> ok;
        _ ->
            true = lists:member(Termination, terminations(Context)),
            ets:insert(?MODULE, {last, Context, Termination}),
            tell("modify ~w", [Context])
    end,
    {modReply, #'AmmsReply'{terminationID = [Termination], terminationAudit = chosen(Descriptors)}};
command(Context, {subtractReq, #'SubtractRequest'{terminationID = [All]}}) ->
    [_, _] = terminations(Context),
    ets:delete(?MODULE, {context, Context}),
    tell("subtract ~w", [Context]),
    {subtractReply, #'AmmsReply'{terminationID = [All]}};
command(?megaco_null_context_id, {auditValueRequest, #'AuditRequest'{
        terminationID = Root, auditDescriptor = #'AuditDescriptor'{auditToken = [packagesToken]}}}) ->
    tell("packages", []),
    [{packages, Names}] = ets:lookup(?MODULE, packages),
    Items = [#'PackagesItem'{packageName = Name, packageVersion = 1} || Name <- Names],
    Listed = [{packagesDescriptor, Items} || Items =/= []],
    {auditValueReply, {auditResult, #'AuditResult'{terminationID = Root, terminationAuditResult = Listed}}};
command(_, {auditCapRequest, #'AuditRequest'{terminationID = Root}}) ->
    Refused = #'ErrorDescriptor'{errorCode = ?megaco_not_implemented, errorText = "no"},
    {auditCapReply, {auditResult, #'AuditResult'{terminationID = Root, terminationAuditResult = [{errorDescriptor, Refused}]}}};
command(_, {serviceChangeReq, #'ServiceChangeRequest'{
        terminationID = Root, serviceChangeParms = #'ServiceChangeParm'{serviceChangeMethod = Method}}}) ->
    case Method of
        handOff ->
            spawn(fun() ->
                timer:sleep(50),
                service_change(connection(), handOff, "903 MGC Directed Change"),
                tell("handoff", [])
            end);
        _ ->
            tell("~w", [Method])
    end,
    {serviceChangeReply, #'ServiceChangeReply'{
        terminationID = Root, serviceChangeResult = {serviceChangeResParms, #'ServiceChangeResParm'{}}}};
command(Context, {auditValueRequest, #'AuditRequest'{terminationID = Termination}}) ->
    tell("audit ~w", [Context]),
    audited(Termination).

audited(Termination) ->
    {auditValueReply, {auditResult, #'AuditResult'{terminationID = Termination, terminationAuditResult = []}}}.

terminations(Context) ->
    [{_, Terminations}] = ets:lookup(?MODULE, {context, Context}),
    Terminations.

%% The streams whose Local leaves something to us, with our choice.
chosen(Descriptors) ->
    Streams = lists:append([S || {mediaDescriptor, #'MediaDescriptor'{streams = {multiStream, S}}} <- Descriptors]),
    case [stream(S) || S <- Streams, asks(S)] of
        [] -> asn1_NOVALUE;
        Chosen -> [{mediaDescriptor, #'MediaDescriptor'{streams = {multiStream, Chosen}}}]
    end.

asks(#'StreamDescriptor'{streamParms = #'StreamParms'{localDescriptor = Local}}) ->
    Local =/= asn1_NOVALUE.

stream(#'StreamDescriptor'{streamID = Id, streamParms = #'StreamParms'{localDescriptor = Local}}) ->
    Lines = [[choose(Line) || Line <- Group] || Group <- Local#'LocalRemoteDescriptor'.propGrps],
    #'StreamDescriptor'{
        streamID = Id, streamParms = #'StreamParms'{localDescriptor = #'LocalRemoteDescriptor'{propGrps = Lines}}
    }.

choose(#'PropertyParm'{name = "c"} = Line) ->
    Line#'PropertyParm'{value = ["IN IP4 127.0.0.1"]};
choose(#'PropertyParm'{name = "m", value = [Value]} = Line) ->
    Line#'PropertyParm'{value = [string:replace(Value, "$", integer_to_list(20000 + number()))]};
choose(#'PropertyParm'{name = "a", value = ["fingerprint:" ++ _]} = Line) ->
    Line#'PropertyParm'{value = ["fingerprint:sha-256 " ++ ?FINGERPRINT]};
choose(Line) ->
    Line.

number() ->
    ets:update_counter(?MODULE, number, 1).

tell(Format, Arguments) ->
    io:format(Format ++ "~n", Arguments).

%% --- what else megaco calls

handle_trans_ack(_, _, _, _) -> ok.
