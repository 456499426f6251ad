package client

import (
	"encoding/json"
	"strings"

	"sekisho"
)

// responseVariable is the variable in which newer aws commands hand over the
// answer of StartSession, so that its token is not seen in a process list.
const responseVariable = "AWS_SSM_START_SESSION_RESPONSE"

// PluginCall is what the aws command hands to session-manager-plugin.
type PluginCall struct {
	Config Config
	Stream Stream
	Target string
}

// ParsePlugin reads the arguments after the program's name: the answer of
// StartSession, and with newer aws commands region, operation, profile, the
// request and the endpoint.
func ParsePlugin(args []string, getenv func(string) string) (PluginCall, error) {
	var call PluginCall
	if len(args) < 3 {
		return call, sekisho.Errorf(sekisho.CodeInvalid, "session-manager-plugin is run by the aws command: aws ssm start-session --target NODE.")
	}
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	if operation := arg(2); operation != "StartSession" {
		return call, sekisho.Errorf(sekisho.CodeInvalid, "The operation %s is not known: it must be StartSession.", quoted(operation))
	}
	response := args[0]
	if strings.HasPrefix(response, responseVariable) {
		response = getenv(response)
	}
	if err := json.Unmarshal([]byte(response), &call.Stream); err != nil || call.Stream.SessionID == "" {
		return call, sekisho.Errorf(sekisho.CodeInvalid, "The answer of StartSession that the aws command handed over cannot be read.")
	}
	if request := arg(4); request != "" {
		var in struct{ Target string }
		if err := json.Unmarshal([]byte(request), &in); err != nil {
			return call, sekisho.Errorf(sekisho.CodeInvalid, "The request that the aws command handed over cannot be read.")
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

// PluginVersion is the answer to --version, by which the aws command decides
// how to hand over the answer of StartSession.
const PluginVersion = Version
