%% Decodes H.248 text with the megaco application of Erlang/OTP, which shares nothing with the codec under test.
%%
%%   erl -noshell -s megaco_decode main Folder
%%
%% Each file of Folder holds one message. A line per file goes out: "OK name", or "ERROR name reason".
-module(megaco_decode).
-export([main/1]).

main([Folder]) ->
    {ok, Names} = file:list_dir(Folder),
    lists:foreach(fun(Name) -> tell(filename:join(Folder, Name), Name) end, lists:sort(Names)),
    halt(0).

tell(Path, Name) ->
    {ok, Text} = file:read_file(Path),
    case decode(Text) of
        {ok, _Message} -> io:format("OK ~ts~n", [Name]);
        {error, Reason} -> io:format("ERROR ~ts ~0p~n", [Name, Reason])
    end.

decode(Text) ->
    try megaco_pretty_text_encoder:decode_message([], dynamic, Text) of
        Result -> Result
    catch
        _:Reason -> {error, Reason}
    end.
