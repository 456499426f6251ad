package sekisho_test

import (
	"testing"

	"sekisho"
)

// A hint is a sentence of its own, whether or not the message ends with a full stop.
func TestHintFollowsMessage(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"It failed.":   "It failed. Retry.",
		"it failed":    "it failed. Retry.",
		"Is it there?": "Is it there? Retry.",
	} {
		if got := sekisho.Errorf(sekisho.CodeInvalid, "%s", message).WithHint("Retry.").Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
