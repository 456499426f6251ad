package runcommand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sekisho/internal/agent/sessionlog"
	"sekisho/internal/safetext"
	"sekisho/internal/wire/mgs"
)

// variableCommand is the environment variable with the command's ID, for a script and its children.
const variableCommand = "SSM_COMMAND_ID"

// deliveryTimeout bounds the delivery of a step's output.
const deliveryTimeout = 15 * time.Minute

// maxTrace bounds the text of a reply about the command as a whole.
const maxTrace = 2500

// run is one run of a command.
type run struct {
	r       *Runner
	command string
	send    mgs.SendCommand
	plan    *plan
	record  record
	last    *mgs.StepStatus // of a document of one step
	trace   []string        // messages about the whole command
	log     *slog.Logger
}

// refuse reports that the command does not run, and why.
func (c *run) refuse(why error) {
	c.trace = append(c.trace, why.Error())
	if len(c.record.Steps) == 0 {
		// Users look for the reason in the output of a step.
		name := c.send.DocumentName
		if !stepName.MatchString(name) {
			name = "command"
		}
		c.record.Steps = []stepRecord{{Name: name, Plugin: pluginShell}}
	}
	now := mgs.FormatJobTime(time.Now())
	c.stepOver(
		0,
		mgs.StepStatus{
			Status:        mgs.CommandFailed,
			Code:          1,
			Output:        why.Error(),
			StandardError: why.Error(),
			StartDateTime: now,
			EndDateTime:   now,
		},
	)
	c.final(mgs.CommandFailed)
}

// run runs the steps in order and reports the outcome of each.
func (c *run) run(ctx context.Context) {
	c.log.Info("command starts", "document", c.send.DocumentName)
	dir := c.r.store.workPath(c.command)
	ended := "" // why steps are skipped
	for i := range c.plan.steps {
		s := &c.plan.steps[i]
		c.note(i, 0)
		began := time.Now()
		var status mgs.StepStatus
		if ended != "" && !(s.last && i == len(c.plan.steps)-1) {
			status = mgs.StepStatus{Status: mgs.CommandSkipped, Output: ended + " Step name: " + s.name}
		} else {
			status = c.step(ctx, i, s, filepath.Join(dir, strconv.Itoa(i)), filepath.Join(dir, "downloads"))
			if why := ends(s, &status); why != "" {
				ended = why
			}
		}
		status.StartDateTime, status.EndDateTime = mgs.FormatJobTime(began), mgs.FormatJobTime(time.Now())
		c.log.Info("step ended", "step", s.name, "status", note(&status))
		c.stepOver(i, status)
		if errors.Is(context.Cause(ctx), errStopped) {
			c.trace = append(c.trace, errStopped.Error())
			break
		}
	}
	status, _ := summary(c.record.Steps)
	c.final(status)
	c.r.clean(c.command)
}

// ends returns why the document ends after a step, or "". It interprets the outcome as AWS's agent
// does.
func ends(s *step, status *mgs.StepStatus) string {
	addition, failed := "", status.Status == mgs.CommandFailed
	switch {
	case status.Code == codeSuccess && failed:
		addition = "Step exited with code 168. Therefore, marking step as succeeded. Further document steps will be skipped."
		status.Status, status.StandardError = mgs.CommandSuccess, ""
	case status.Code == codeFailure && failed:
		addition = "Step exited with code 169. Therefore, marking step as Failed. Further document steps will be skipped."
		status.StandardError += "\n" + addition
	case failed && (s.onFailure == "exit" || s.onFailure == "successAndExit"):
		addition = "Step was found to have onFailure property. Further document steps will be skipped."
		status.StandardError += "\n" + addition
		if s.onFailure == "successAndExit" {
			status.Status, status.Code = mgs.CommandSuccess, codeSuccess
		}
	case status.Status == mgs.CommandSuccess && s.onSuccess == "exit":
	default:
		return ""
	}
	if addition != "" {
		status.StandardOutput += "\n" + addition
	}
	return "Step skipped due to a prior step with an exit condition."
}

// note stores which step is running, and in which process group.
func (c *run) note(step, group int) {
	c.record.Began, c.record.Number, c.record.Group = true, step, group
	if err := c.r.store.update(c.command, c.record); err != nil {
		c.log.Warn("could not store the progress of a command", "error", err)
	}
}

// failure returns the outcome of a step that could not run.
func failure(why string) mgs.StepStatus {
	return mgs.StepStatus{Status: mgs.CommandFailed, Code: 1, Output: why, StandardError: why}
}

// step runs one step. dir is its directory, work that of the command's files.
func (c *run) step(ctx context.Context, number int, s *step, dir, work string) mgs.StepStatus {
	switch {
	case s.skip != "":
		return mgs.StepStatus{Status: mgs.CommandSkipped, Output: s.skip}
	case ctx.Err() != nil:
		return c.interrupted(ctx, failure(context.Cause(ctx).Error()))
	case s.fail != "":
		return failure(s.fail)
	}
	for _, d := range []string{dir, work} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return failure("Cannot create the directory of the command: " + err.Error())
		}
	}
	var files [2]string // files with the output until delivery
	if c.delivers() {
		files = [2]string{filepath.Join(dir, "stdout"), filepath.Join(dir, "stderr")}
	}
	stdout, err := newCapture(maxStdout, files[0])
	if err != nil {
		return failure("Cannot store the output of the step: " + err.Error())
	}
	defer stdout.close()
	stderr, err := newCapture(maxStderr, files[1])
	if err != nil {
		return failure("Cannot store the output of the step: " + err.Error())
	}
	defer stderr.close()

	var code int
	if s.download != nil {
		code, err = c.download(ctx, s, work, stdout)
	} else {
		code, err = (&script{
			in: s.script, dir: dir, work: work, out: stdout, err: stderr,
			env:   environment(s.script.Environment, c.environment()),
			began: func(group int) { c.note(number, group) },
		}).run(ctx)
	}
	status := mgs.StepStatus{Status: mgs.CommandSuccess, Code: code}
	switch {
	case err != nil:
		status.Status = mgs.CommandFailed
		stderr.add(err.Error())
	case code == codeReboot:
		status.Status = mgs.CommandFailed
		stderr.add("The exit code 194 requests a reboot of the node, which this agent does not support.")
	case code != 0:
		status.Status = mgs.CommandFailed
		if code != codeSuccess && code != codeFailure {
			stderr.add(fmt.Sprintf("failed to run commands: exit status %d", code))
		}
	}
	if errors.Is(err, errTimedOut) {
		status.Status = mgs.CommandTimedOut
	} else if err != nil && ctx.Err() != nil {
		status = c.interrupted(ctx, status)
	}
	c.deliver(ctx, s, &status, stdout, stderr)
	status.StandardOutput, status.StandardError = stdout.text(), stderr.text()
	if code == codeSuccess {
		status.Output = both(status.StandardOutput, "")
	} else {
		status.Output = both(status.StandardOutput, status.StandardError)
	}
	return status
}

// interrupted returns the outcome of a cancelled step.
func (c *run) interrupted(ctx context.Context, status mgs.StepStatus) mgs.StepStatus {
	if errors.Is(context.Cause(ctx), errCancelled) {
		status.Status = mgs.CommandCancelled
	}
	return status
}

func (c *run) download(ctx context.Context, s *step, work string, stdout io.Writer) (int, error) {
	text, err := c.r.download(ctx, s.download, work)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return 1, err
	}
	_, err = io.WriteString(stdout, text)
	return 0, err
}

func (c *run) environment() map[string]string {
	env := maps.Clone(c.r.cfg.Environment)
	if env == nil {
		env = make(map[string]string)
	}
	env[variableCommand] = c.command
	return env
}

// delivers reports whether output has a destination besides replies.
func (c *run) delivers() bool { return c.send.OutputS3BucketName != "" || c.group() != "" }

var notInGroup = regexp.MustCompile(`[^a-zA-Z0-9_\-/.#]`)

// group returns the log group for output, or "".
func (c *run) group() string {
	if on, err := strconv.ParseBool(c.send.CloudWatchOutputEnabled); err != nil || !on {
		return ""
	}
	if c.send.CloudWatchLogGroupName != "" {
		return c.send.CloudWatchLogGroupName
	}
	return notInGroup.ReplaceAllString("/aws/ssm/"+c.send.DocumentName, ".")
}

// deliver delivers a step's output to the command's bucket and log group. A failed delivery does
// not fail the step.
func (c *run) deliver(ctx context.Context, s *step, status *mgs.StepStatus, stdout, stderr *capture) {
	if !c.delivers() {
		return
	}
	node := string(c.r.cfg.Node)
	prefix := ""
	if c.send.OutputS3BucketName != "" {
		prefix = path.Join(c.send.OutputS3KeyPrefix, c.command, node, noColon(s.plugin))
		status.OutputS3BucketName, status.OutputS3KeyPrefix, status.StepName = c.send.OutputS3BucketName, prefix, s.folder
	}
	// A cancelled command's output is delivered; a stopped agent's is not.
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), deliveryTimeout, errors.New("it took too long"))
	defer cancel()
	defer context.AfterFunc(c.r.ctx, cancel)()
	failed := func(where string, err error) {
		c.log.Error("could not deliver the output of a command", "to", where, "error", err)
		c.trace = append(
			c.trace,
			fmt.Sprintf("The output of the step %s was not delivered to %s: %v.", s.name, where, err),
		)
	}
	for _, stream := range []struct {
		name string
		*capture
	}{{"stdout", stdout}, {"stderr", stderr}} {
		if stream.problem != "" {
			failed("any destination completely", errors.New(stream.problem))
		}
		if stream.size == 0 {
			continue
		}
		if bucket := c.send.OutputS3BucketName; bucket != "" {
			key := path.Join(prefix, s.folder, stream.name)
			if err := sessionlog.Upload(ctx, c.r.cfg.Services, bucket, key, stream.file, stream.size); err != nil {
				failed("s3://"+bucket+"/"+key, err)
			}
		}
		if group := c.group(); group != "" {
			name := strings.NewReplacer(":", "-", "*", "-").
				Replace(c.command + "/" + node + "/" + s.name + "/" + stream.name)
			text := io.NewSectionReader(stream.file, 0, stream.size)
			if err := sessionlog.PutLog(ctx, c.r.cfg.Services, group, name, text); err != nil {
				failed("the log group "+group, err)
			}
		}
	}
}

// stepOver reports the outcome of a step.
func (c *run) stepOver(number int, status mgs.StepStatus) {
	rec := &c.record.Steps[number]
	rec.Status, status.Name = status.Status, rec.Plugin
	if len(c.record.Steps) == 1 {
		c.last = &status
	}
	_, counts := summary(c.record.Steps)
	c.tell(mgs.CommandReply{
		AdditionalInfo: mgs.CommandInfo{RuntimeStatusCounts: counts},
		DocumentStatus: mgs.CommandInProgress,
		RuntimeStatus:  map[string]*mgs.StepStatus{rec.Name: &status},
	}, false)
}

// final reports the outcome of the command. Like AWS's agent, it repeats the step's outcome only if
// there is one step.
func (c *run) final(status string) {
	_, counts := summary(c.record.Steps)
	reply := mgs.CommandReply{
		AdditionalInfo:      mgs.CommandInfo{RuntimeStatusCounts: counts},
		DocumentStatus:      status,
		DocumentTraceOutput: safetext.Prefix(strings.Join(c.trace, "\n"), maxTrace),
	}
	if c.last != nil {
		reply.RuntimeStatus = map[string]*mgs.StepStatus{c.record.Steps[0].Name: c.last}
	}
	c.tell(reply, true)
}

// tell queues a reply, which is repeated until the server acknowledges it.
func (c *run) tell(reply mgs.CommandReply, final bool) {
	reply.AdditionalInfo.Agent = c.r.cfg.Agent
	reply.AdditionalInfo.DateTime = mgs.FormatJobTime(time.Now())
	fit(&reply)
	id := mgs.NewUUID()
	load := c.r.store.keep(storedReply{Job: c.record.Job, ID: id, Final: final, Reply: reply})
	if final {
		c.r.store.over(c.record.Job)
	}
	c.r.cfg.Reply(c.record.Job, id, load)
}

// fit truncates output that would make a reply too large: JSON encodes a control character in six
// bytes.
func fit(reply *mgs.CommandReply) {
	for range 20 { // enough to shrink any output to nothing
		b, err := json.Marshal(reply)
		if err != nil || len(b) <= mgs.MaxJobReply {
			return
		}
		for name, s := range reply.RuntimeStatus {
			short := *s
			short.StandardOutput = safetext.Prefix(s.StandardOutput, len(s.StandardOutput)/2)
			short.StandardError = safetext.Prefix(s.StandardError, len(s.StandardError)*2/3)
			short.Output = safetext.Prefix(s.Output, len(s.Output)*2/3)
			reply.RuntimeStatus[name] = &short
		}
		reply.DocumentTraceOutput = safetext.Prefix(reply.DocumentTraceOutput, len(reply.DocumentTraceOutput)/2)
	}
}
