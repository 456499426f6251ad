package enroll

import (
	"strings"
	"testing"

	"sekisho/internal/agent/uplink"
)

// Sekisho's server already includes the remedy; AWS's does not.
func TestRegisterErrorGivesTheRemedyOnce(t *testing.T) {
	t.Parallel()
	for _, message := range []string{"The activation has expired.",
		"The activation has expired. Create a new activation."} {
		err := registerError(&uplink.APIError{Code: "ActivationExpired", Message: message})
		if n := strings.Count(strings.ToLower(err.Error()), "create a new activation"); n != 1 {
			t.Errorf("the remedy appears %d times in %q", n, err)
		}
	}
}
