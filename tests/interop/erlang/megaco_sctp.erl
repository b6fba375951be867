%% SCTP for the megaco application of Erlang/OTP, which brings UDP and TCP alone: a message of H.248 is one user message, with the
%% payload protocol identifier of H.248 (H.248.4). Kernel sockets through gen_sctp, one for all associations of a user.
-module(megaco_sctp).
-export([connect/2, listen/2, send_message/2]).

-include_lib("kernel/include/inet_sctp.hrl").

-define(HERE, {127, 0, 0, 1}).
-define(H248, 7).

%% Both give {ok, SendHandle | none, Pid}, as the transports that megaco has.
connect(Port, Receiver) ->
    open(0, Receiver, fun(Socket) ->
        {ok, #sctp_assoc_change{state = comm_up, assoc_id = Association}} = gen_sctp:connect(Socket, ?HERE, Port, []),
        {Socket, Association}
    end).

listen(Port, Receiver) ->
    open(Port, Receiver, fun(Socket) ->
        ok = gen_sctp:listen(Socket, true),
        none
    end).

send_message({Socket, Association}, Message) ->
    gen_sctp:send(Socket, #sctp_sndrcvinfo{stream = 0, ppid = ?H248, assoc_id = Association}, Message).

open(Port, Receiver, Begin) ->
    Caller = self(),
    Pid = spawn_link(fun() ->
        {ok, Socket} = gen_sctp:open([binary, {ip, ?HERE}, {port, Port}, {active, false}, {sctp_nodelay, true}]),
        Caller ! {self(), Begin(Socket)},
        ok = inet:setopts(Socket, [{active, true}]),
        serve(Socket, Receiver)
    end),
    receive {Pid, Sender} -> {ok, Sender, Pid} end.

%% A message that says it is something else than H.248 ends all of it.
serve(Socket, Receiver) ->
    receive
        {sctp, Socket, _, _, {[#sctp_sndrcvinfo{ppid = ?H248, stream = 0, assoc_id = Association}], Message}} when is_binary(Message) ->
            megaco:receive_message(Receiver, self(), {Socket, Association}, Message);
        {sctp, Socket, _, _, {_, Event}} when not is_binary(Event) ->
            ok
    end,
    serve(Socket, Receiver).
