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

// Users creates commands that run as a user; see [runas.Host].
type Users interface {
	Command(u runas.User, path string, args []string, extra ...string) *exec.Cmd
}

// Startup configures how a shell starts.
type Startup struct {
	// Login selects the user's login shell from the user database. Otherwise the shell is sh, as
	// with AWS's agent.
	Login bool
	// Name is the node's name in the prompt; empty for the shell's own prompt.
	Name string
	// Fallback replaces Name if a prompt cannot show it safely.
	Fallback string
	// Profile contains commands to run before the first prompt.
	Profile string
}

// maxName bounds the name in a prompt.
const maxName = 64

// plainName reports whether s is safe and unambiguous on every terminal.
func plainName(s string) bool {
	for _, r := range s {
		if r < '!' || r > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// name returns the node's name in the prompt.
func (st *Startup) name() string {
	if st.Name == "" || plainName(st.Name) {
		return st.Name
	}
	return st.Fallback
}

// Shell returns a user's shell, as a command to start, and the text to type into it. The rest
// of the configuration is a script in a sealed memory file, which the shell reads after the
// user's own profile files.
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
		// In this mode bash reads the file in ENV instead of its own files. The script leaves the
		// mode and then reads those, still as a login shell.
		args = append(args, "--posix")
		script = bashScript(name, st.Profile)
	case "sh", "dash", "ash", "ksh", "ksh93", "mksh", "lksh", "busybox":
		script = shScript(u.Name, name, st.Profile)
	case "fish":
		args = append(args, "--init-command", fishScript(name, st.Profile))
	default:
		// As with AWS's agent, the user sees these lines being typed.
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

// scriptPath is the path of the script in the shell's process.
const scriptPath = "/proc/self/fd/3"

// memoryFile returns a sealed, unnamed file.
func memoryFile(text string) (*os.File, error) {
	fd, err := unix.MemfdCreate("sekisho-shell", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("create the shell's startup file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "sekisho-shell")
	if _, err = f.WriteString(text); err == nil {
		_, err = unix.FcntlInt(
			f.Fd(),
			unix.F_ADD_SEALS,
			unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL,
		)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("create the shell's startup file: %w", err)
	}
	return f, nil
}

// The prompt refers to a variable with the name. Shells do not expand the value of a variable
// again, so that a tag cannot run commands.
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

// shScript is for shells that read the user's profile first and then the file that
// ENV names.
func shScript(user, name, profile string) string {
	var b strings.Builder
	b.WriteString("exec 3<&-\nunset ENV\n")
	if name != "" {
		fmt.Fprintf(&b, "%s=%s\n", nameVariable, shellquote.Quote(name))
		fmt.Fprintf(
			&b,
			`PS1='[%s@${%s} $(case $PWD in "$HOME") printf "~";; /) printf /;; *) printf %%s "${PWD##*/}";; esac)]$ '`+"\n",
			user,
			nameVariable,
		)
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

// zshName escapes a name for zsh prompts, even if the user has enabled prompt
// substitution.
func zshName(name, fallback string) string {
	for _, r := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			return fallback
		}
	}
	return name
}
