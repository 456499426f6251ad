package ssmdoc

import (
	"encoding/json"
	"path"
)

// LogPlaces are where a node writes the log of a session; "" is nowhere.
type LogPlaces struct {
	Bucket string
	Key    string // of the log in the bucket
	Group  string // the stream is the session's ID
}

// Logs are where the log of the planned session goes.
func (p *Plan) Logs(session string) (LogPlaces, error) {
	var c struct{ Inputs agentInputs }
	if err := json.Unmarshal(p.Content, &c); err != nil {
		return LogPlaces{}, err
	}
	out := LogPlaces{Bucket: c.Inputs.S3BucketName, Group: c.Inputs.CloudWatchLogGroupName}
	if out.Bucket != "" {
		out.Key = LogKey(c.Inputs.S3KeyPrefix, session)
	}
	return out, nil
}

// LogKey is the key of a session's log, as AWS's agent chooses it.
func LogKey(prefix, session string) string { return path.Join(prefix, session+".log") }

// Settings are the preferences that d holds when its parameters have their
// defaults. A parameter without one is an error.
func (d *Document) Settings() (Settings, error) {
	bound, err := d.bind(nil)
	if err != nil {
		return Settings{}, err
	}
	return d.settings(nil, bound)
}

// SettingsFor are the preferences of a session of d, with the account's where
// d has none, as far as a request's parameters do not change them.
func (d *Document) SettingsFor(account *Document) (Settings, error) {
	bound, err := d.bind(nil)
	if err != nil {
		return Settings{}, err
	}
	return d.settings(account, bound)
}
