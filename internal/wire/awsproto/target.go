package awsproto

import (
	"net/http"
	"strings"
)

// Target reads the X-Amz-Target header: the service's name as in credential
// scopes, and the operation. ok is false when there is none, or more than
// one, or its service is unknown.
func Target(r *http.Request) (service, operation string, ok bool) {
	values := r.Header.Values("X-Amz-Target")
	if len(values) != 1 {
		return "", "", false
	}
	prefix, operation, found := cutLast(values[0], ".")
	if !found || !isOperation(operation) {
		return "", "", false
	}
	switch prefix {
	case "AmazonSSM":
		service = "ssm"
	case "EC2WindowsMessageDeliveryService":
		service = "ec2messages"
	case "TrentService":
		service = "kms"
	case "Logs_20140328":
		service = "logs"
	case "CloudTrail_20131101", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101":
		service = "cloudtrail"
	case "AWSOrigamiServiceGatewayService":
		service = "cur"
	case "Sekisho":
		service = "sekisho"
	default:
		return "", "", false
	}
	return service, operation, true
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func isOperation(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
