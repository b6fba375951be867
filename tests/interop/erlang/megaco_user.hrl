%% What megaco asks of every user of it, and our peers answer alike. A module that includes this has `tell/2`, the handlers of
%% requests (arity 3), and handle_trans_ack/4.
-behaviour(megaco_user).
-export([
    handle_connect/2, handle_connect/3, handle_disconnect/3, handle_syntax_error/3, handle_syntax_error/4,
    handle_message_error/3, handle_message_error/4, handle_trans_request/3, handle_trans_request/4,
    handle_trans_long_request/3, handle_trans_long_request/4, handle_trans_reply/4, handle_trans_reply/5,
    handle_trans_ack/4, handle_trans_ack/5, handle_unexpected_trans/3, handle_unexpected_trans/4,
    handle_trans_request_abort/4, handle_trans_request_abort/5, handle_segment_reply/5, handle_segment_reply/6
]).

handle_connect(_, _) -> ok.
handle_connect(_, _, _) -> ok.
handle_disconnect(_, _, _) -> ok.
handle_syntax_error(_, _, Error) -> tell("syntax ~0p", [Error]), reply.
handle_syntax_error(A, B, C, _) -> handle_syntax_error(A, B, C).
handle_message_error(_, _, Error) -> tell("refused ~0p", [Error]), no_reply.
handle_message_error(A, B, C, _) -> handle_message_error(A, B, C).
handle_trans_request(A, B, C, _) -> handle_trans_request(A, B, C).
handle_trans_long_request(A, B, C, _) -> handle_trans_long_request(A, B, C).
handle_trans_reply(_, _, _, _) -> ok.
handle_trans_reply(_, _, _, _, _) -> ok.
handle_trans_ack(A, B, C, D, _) -> handle_trans_ack(A, B, C, D).
handle_unexpected_trans(_, _, _) -> ok.
handle_unexpected_trans(_, _, _, _) -> ok.
handle_trans_request_abort(_, _, _, _) -> ok.
handle_trans_request_abort(_, _, _, _, _) -> ok.
handle_segment_reply(_, _, _, _, _) -> ok.
handle_segment_reply(_, _, _, _, _, _) -> ok.
