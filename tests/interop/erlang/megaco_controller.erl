%% A controller on the megaco application of Erlang/OTP: what it asks of our gateway goes through its codec and its
%% transactions, and so does what our gateway tells.
%%
%%   erl -noshell -run megaco_controller main Port pretty|compact udp|tcp|sctp
%%
%% Commands come one per line from standard input, whose end stops the controller. H.248 text travels in Base64.
%%   call TEXT   decodes a message with requests, sends them in one message, and tells "reply TEXT" or "failed REASON" for each
%%   hold MS     answers the next request of the gateway with TransactionPending, and in earnest so much later
%% What the gateway asks for is told as "request TEXT", and granted; "confirmed" tells that it confirmed the reply to a request
%% that was held. Every reply asks for a confirmation at once.
-module(megaco_controller).
-export([main/1]).

-include_lib("megaco/include/megaco.hrl").
-include_lib("megaco/include/megaco_message_v2.hrl").
-include("megaco_user.hrl").

-define(VERSION, 2).

main([Port, Encoding, Transport]) ->
    ets:new(?MODULE, [named_table, public]),
    ok = application:start(megaco),
    Number = list_to_integer(Port),
    Mid = {ip4Address, #'IP4Address'{address = [127, 0, 0, 1], portNumber = Number}},
    ets:insert(?MODULE, {mid, Mid}),
    ok = megaco:start_user(Mid, [
        {user_mod, ?MODULE}, {encoding_mod, encoder(Encoding)}, {encoding_config, []},
        {send_mod, sender(Transport)}, {protocol_version, ?VERSION}
    ]),
    open(Transport, Number, megaco:user_info(Mid, receive_handle)),
    tell("open", []),
    obey().

open("udp", Port, Receiver) ->
    {ok, Transport} = megaco_udp:start_transport(),
    {ok, _, _} = megaco_udp:open(Transport, [{port, Port}, {receive_handle, Receiver}, {udp_options, [{ip, {127, 0, 0, 1}}]}]);
open("tcp", Port, Receiver) ->
    {ok, Transport} = megaco_tcp:start_transport(),
    ok = megaco_tcp:listen(Transport, [{port, Port}, {receive_handle, Receiver}, {tcp_options, [{ip, {127, 0, 0, 1}}]}]);
open("sctp", Port, Receiver) ->
    {ok, _, _} = megaco_sctp:listen(Port, Receiver).

sender("udp") -> megaco_udp;
sender("tcp") -> megaco_tcp;
sender("sctp") -> megaco_sctp.

encoder("pretty") -> megaco_pretty_text_encoder;
encoder("compact") -> megaco_compact_text_encoder.

%% --- commands from standard input

obey() ->
    case io:get_line("") of
        "call " ++ Text ->
            call(requests(base64:decode(string:trim(Text)))),
            obey();
        "hold " ++ Delay ->
            ets:insert(?MODULE, {hold, list_to_integer(string:trim(Delay))}),
            tell("holding", []),
            obey();
        eof ->
            halt(0)
    end.

%% The actions of each request.
requests(Text) ->
    {ok, #'MegacoMessage'{mess = #'Message'{messageBody = {transactions, Transactions}}}} =
        megaco_pretty_text_encoder:decode_message([], dynamic, Text),
    [Request#'TransactionRequest'.actions || {transactionRequest, Request} <- Transactions].

call(Requests) ->
    [{connection, Connection}] = ets:lookup(?MODULE, connection),
    {Version, Results} = megaco:call(Connection, Requests, []),
    [told(Version, Result) || Result <- Results].

told(Version, {ok, Replies}) -> tell_text("reply", Version, reply({actionReplies, Replies}));
told(Version, {error, #'ErrorDescriptor'{} = Error}) -> tell_text("reply", Version, reply({transactionError, Error}));
told(_, {error, Reason}) -> tell("failed ~0p", [Reason]).

reply(Result) ->
    {transactionReply, #'TransactionReply'{transactionId = 1, transactionResult = Result}}.

%% --- requests of the gateway

handle_trans_request(Connection, Version, Actions) ->
    ets:insert(?MODULE, {connection, Connection}),
    tell_text("request", Version, {transactionRequest, #'TransactionRequest'{transactionId = 1, actions = Actions}}),
    case ets:take(?MODULE, hold) of
        [{hold, Delay}] -> {pending, {Delay, Actions}};
        [] -> {{handle_ack, granted}, [action(Connection, Action) || Action <- Actions]}
    end.

handle_trans_long_request(Connection, _, {Delay, Actions}) ->
    timer:sleep(Delay),
    {{handle_ack, held}, [action(Connection, Action) || Action <- Actions]}.

action(Connection, #'ActionRequest'{contextId = Context, commandRequests = Commands}) ->
    #'ActionReply'{contextId = Context, commandReply = [grant(Connection, C) || #'CommandRequest'{command = C} <- Commands]}.

%% The registration comes in a header of version 1; what it settles on holds from then on.
grant(Connection, {serviceChangeReq, #'ServiceChangeRequest'{terminationID = Termination}}) ->
    megaco:update_conn_info(Connection, protocol_version, ?VERSION),
    Settled = {serviceChangeResParms, #'ServiceChangeResParm'{serviceChangeVersion = ?VERSION}},
    {serviceChangeReply, #'ServiceChangeReply'{terminationID = Termination, serviceChangeResult = Settled}};
grant(_, {notifyReq, #'NotifyRequest'{terminationID = Termination}}) ->
    {notifyReply, #'NotifyReply'{terminationID = Termination}}.

%% --- telling

tell_text(Word, Version, Transaction) ->
    [{mid, Mid}] = ets:lookup(?MODULE, mid),
    Message = #'MegacoMessage'{mess = #'Message'{version = Version, mId = Mid, messageBody = {transactions, [Transaction]}}},
    {ok, Text} = megaco_compact_text_encoder:encode_message([], Version, Message),
    tell("~s ~s", [Word, base64:encode(Text)]).

tell(Format, Arguments) ->
    io:format(Format ++ "~n", Arguments).

%% --- what else megaco calls

handle_trans_ack(_, _, _, held) -> tell("confirmed", []), ok;
handle_trans_ack(_, _, _, _) -> ok.
