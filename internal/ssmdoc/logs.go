package ssmdoc

import (
	"encoding/json"
	"path"
)

// LogPlaces are the destinations of a session's log; "" means none.
type LogPlaces struct {
	Bucket string
	Key    string // of the log in the bucket
	Group  string // log group; the stream is the session's ID
}

// Logs returns the destinations of the planned session's log.
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

// LogKey returns the key of a session's log, the same as AWS's agent uses.
func LogKey(prefix, session string) string { return path.Join(prefix, session+".log") }

// Settings returns the preferences in d with all parameters at their defaults. A parameter without
// a default is an error.
func (d *Document) Settings() (Settings, error) {
	bound, err := d.bind(nil)
	if err != nil {
		return Settings{}, err
	}
	return d.settings(nil, bound)
}

// SettingsFor returns the preferences of a session with d, with the account's preferences where d
// has none and the parameters at their defaults.
func (d *Document) SettingsFor(account *Document) (Settings, error) {
	bound, err := d.bind(nil)
	if err != nil {
		return Settings{}, err
	}
	return d.settings(account, bound)
}
