package noninteractive

import (
	"strings"

	"sekisho"
)

// Split splits a command line as AWS's agent does: at white space outside quotes. Backslashes and quotes
// have their POSIX meaning. No shell interprets the line, so nothing else is special.
func Split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	runes := []rune(line)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch r {
		case ' ', '\t', '\r', '\n':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
			continue
		case '#':
			if !inWord { // a comment, to the end of the line
				for i+1 < len(runes) && runes[i+1] != '\n' {
					i++
				}
				continue
			}
			word.WriteRune(r)
		case '\\':
			if i++; i == len(runes) {
				return nil, sekisho.Errorf(sekisho.CodeInvalid, "The command ends with a backslash.")
			}
			word.WriteRune(runes[i])
		case '\'', '"':
			end, err := quoted(runes, i, &word)
			if err != nil {
				return nil, err
			}
			i = end
		default:
			word.WriteRune(r)
		}
		inWord = true
	}
	if inWord {
		words = append(words, word.String())
	}
	if len(words) == 0 {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "The document has no command to run.")
	}
	return words, nil
}

// quoted parses a quoted string that starts at runes[i] and returns the index of the closing quote.
func quoted(runes []rune, i int, word *strings.Builder) (end int, err error) {
	quote := runes[i]
	for i++; i < len(runes); i++ {
		switch {
		case runes[i] == quote:
			return i, nil
		case quote == '"' && runes[i] == '\\' && i+1 < len(runes) && strings.ContainsRune("\"\\$`\n", runes[i+1]):
			i++
			if runes[i] != '\n' {
				word.WriteRune(runes[i])
			}
		default:
			word.WriteRune(runes[i])
		}
	}
	return 0, sekisho.Errorf(sekisho.CodeInvalid, "The command has an unclosed quote.")
}
