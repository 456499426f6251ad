package shell

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"sekisho/internal/agent/runas"
	"sekisho/internal/shellquote"
)

// Users makes commands that run as a user; see [runas.Host].
type Users interface {
	Command(u runas.User, path string, args []string, extra ...string) *exec.Cmd
}

// Startup is how a shell begins.
type Startup struct {
	// Login is whether it is the user's login shell, from the user database.
	// Otherwise it is sh, as with AWS's agent.
	Login bool
	// Name is what the prompt calls the node; empty for the shell's own prompt.
	Name string
	// Fallback is the name in its place when Name is one no prompt should
	// show.
	Fallback string
	// Profile are commands that run before the first prompt.
	Profile string
}

// maxName bounds what a prompt shows of a name.
const maxName = 64

// plainName reports whether every terminal shows s as it is.
func plainName(s string) bool {
	for _, r := range s {
		if r < '!' || r > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// name is what the prompt calls the node.
func (st *Startup) name() string {
	if st.Name == "" || plainName(st.Name) {
		return st.Name
	}
	return st.Fallback
}

// Shell returns a user's shell, not yet started, and what is to be typed into
// it. Everything else happens where the shell starts: in a script that exists
// in memory only, after the user's own profile files.
func (st *Startup) Shell(users Users, u runas.User, env ...string) (cmd *exec.Cmd, typed string, err error) {
	path, args := u.Shell, []string{"-" + filepath.Base(u.Shell)}
	if !st.Login {
		if path, err = runas.Program("sh"); err != nil {
			return nil, "", err
		}
		args = []string{"sh"}
	}
	name := st.name()
	if name == "" && strings.TrimSpace(st.Profile) == "" {
		return users.Command(u, path, args, env...), "", nil
	}
	script := ""
	switch filepath.Base(path) {
	case "bash":
		// In this mode bash reads the file that ENV names instead of its own.
		// The script leaves the mode and then reads those, still as the login
		// shell it is.
		args = append(args, "--posix")
		script = bashScript(name, st.Profile)
	case "sh", "dash", "ash", "ksh", "ksh93", "mksh", "lksh", "busybox":
		script = shScript(u.Name, name, st.Profile)
	case "fish":
		args = append(args, "--init-command", fishScript(name, st.Profile))
	default:
		// As AWS's agent does, who watches sees it being typed.
		if typed = strings.TrimSpace(st.Profile); typed != "" {
			typed += "\n"
		}
		if filepath.Base(path) == "zsh" && name != "" {
			env = append(env, "PS1=[%n@"+zshName(name, st.Fallback)+" %1~]%# ")
		}
	}
	if script == "" {
		return users.Command(u, path, args, env...), typed, nil
	}
	f, err := memoryFile(script)
	if err != nil {
		return nil, "", err
	}
	cmd = users.Command(u, path, args, append(env, "ENV="+scriptPath)...)
	cmd.ExtraFiles = []*os.File{f} // becomes file 3
	return cmd, "", nil
}

// scriptPath is the script as its shell sees it.
const scriptPath = "/proc/self/fd/3"

// memoryFile returns a file without a name that nobody can change.
func memoryFile(text string) (*os.File, error) {
	fd, err := unix.MemfdCreate("sekisho-shell", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("file for the shell's start: %w", err)
	}
	f := os.NewFile(uintptr(fd), "sekisho-shell")
	if _, err = f.WriteString(text); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("file for the shell's start: %w", err)
	}
	return f, nil
}

// The name stands in a variable and the prompt names the variable: what a
// variable holds is not read once more, whatever a tag may say.
const nameVariable = "SEKISHO_NODE_NAME"

func bashScript(name, profile string) string {
	var b strings.Builder
	b.WriteString(`exec 3<&-
set +o posix
shopt -u inherit_errexit 2>/dev/null
unset ENV
[ "$HISTFILE" != ~/.sh_history ] || HISTFILE=~/.bash_history
[ "$MAILCHECK" != 600 ] || MAILCHECK=60
if shopt -q login_shell; then
  [ ! -r /etc/profile ] || . /etc/profile
  if [ -r ~/.bash_profile ]; then . ~/.bash_profile
  elif [ -r ~/.bash_login ]; then . ~/.bash_login
  elif [ -r ~/.profile ]; then . ~/.profile
  fi
fi
`)
	if name != "" {
		fmt.Fprintf(&b, "%s=%s\n", nameVariable, shellquote.Quote(name))
		fmt.Fprintf(&b, "PS1='[\\u@${%s} \\W]\\$ '\n", nameVariable)
	}
	if profile != "" {
		fmt.Fprintf(&b, "eval %s\n", shellquote.Quote(profile))
	}
	return b.String()
}

// shScript is for shells that read the user's profile themselves and then the
// file that ENV names.
func shScript(user, name, profile string) string {
	var b strings.Builder
	b.WriteString("exec 3<&-\nunset ENV\n")
	if name != "" {
		fmt.Fprintf(&b, "%s=%s\n", nameVariable, shellquote.Quote(name))
		fmt.Fprintf(&b, `PS1='[%s@${%s} $(case $PWD in "$HOME") printf "~";; /) printf /;; *) printf %%s "${PWD##*/}";; esac)]$ '`+"\n",
			user, nameVariable)
	}
	if profile != "" {
		fmt.Fprintf(&b, "eval %s\n", shellquote.Quote(profile))
	}
	return b.String()
}

func fishScript(name, profile string) string {
	q := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	}
	var b strings.Builder
	if name != "" {
		fmt.Fprintf(&b, "set -g %s %s\n", nameVariable, q(name))
		fmt.Fprintf(&b, "function fish_prompt; printf '[%%s@%%s %%s]$ ' $USER $%s (prompt_pwd); end\n", nameVariable)
	}
	if profile != "" {
		fmt.Fprintf(&b, "eval %s\n", q(profile))
	}
	return b.String()
}

// zshName is a name that zsh's prompts take for nothing else, also where a
// user has them read once more.
func zshName(name, fallback string) string {
	for _, r := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			return fallback
		}
	}
	return name
}
