package recstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

// probeObject is the name of the object that [Probe] writes and removes.
const probeObject = "sekisho-probe"

// Probe finds out whether a store can be used: it writes an object, reads it back, finds it in a
// list, and removes it.
func Probe(ctx context.Context, s Store) error {
	content := rand.Text()
	if err := Place(ctx, s, probeObject, strings.NewReader(content), int64(len(content))); err != nil {
		return err
	}
	return errors.Join(listed(ctx, s, probeObject), s.Remove(ctx, probeObject))
}

func listed(ctx context.Context, s Store, name string) error {
	for info, err := range s.List(ctx, name) {
		if err != nil {
			return err
		}
		if info.Name == name {
			return nil
		}
	}
	return &Error{Store: s.String(), Op: "list", Name: name, Err: fmt.Errorf("%s was stored but is not in the list", name)}
}
