package client

import (
	"encoding/json"
	"strings"

	"sekisho"
)

// responseVariable begins the name of the variable in which newer aws commands
// pass the response of StartSession, to keep its token out of process lists.
const responseVariable = "AWS_SSM_START_SESSION_RESPONSE"

// PluginCall is what the aws command passes to session-manager-plugin.
type PluginCall struct {
	Config Config
	Stream Stream
	Target string
}

// ParsePlugin parses the arguments after the program's name: the response of
// StartSession, region and operation, and with newer aws commands the profile,
// the request and the endpoint.
func ParsePlugin(args []string, getenv func(string) string) (PluginCall, error) {
	var call PluginCall
	if len(args) < 3 {
		return call, sekisho.Errorf(
			sekisho.CodeInvalid,
			"session-manager-plugin is run by the aws command: aws ssm start-session --target NODE.",
		)
	}
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	if operation := arg(2); operation != "StartSession" {
		return call, sekisho.Errorf(sekisho.CodeInvalid, "unknown operation %s: want StartSession", quoted(operation))
	}
	response := args[0]
	if strings.HasPrefix(response, responseVariable) {
		response = getenv(response)
	}
	if err := json.Unmarshal([]byte(response), &call.Stream); err != nil || call.Stream.SessionID == "" {
		return call, sekisho.Errorf(
			sekisho.CodeInvalid,
			"cannot parse the response of StartSession from the aws command",
		)
	}
	if request := arg(4); request != "" {
		var in struct{ Target string }
		if err := json.Unmarshal([]byte(request), &in); err != nil {
			return call, sekisho.Errorf(sekisho.CodeInvalid, "cannot parse the request from the aws command")
		}
		call.Target = in.Target
	}
	var err error
	if call.Config, err = read(arg(3), getenv); err != nil {
		return call, err
	}
	call.Config.Region = first(arg(1), call.Config.Region)
	call.Config.Endpoint = first(arg(5), call.Config.Endpoint)
	return call, nil
}

// PluginVersion is the output of --version. It determines how the aws command passes the response
// of StartSession.
const PluginVersion = ProtocolVersion
