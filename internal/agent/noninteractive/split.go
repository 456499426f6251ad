package noninteractive

import (
	"strings"

	"sekisho"
)

// Split takes a command line apart as AWS's agent does: at white space outside
// quotes. Backslashes and quotes mean what they mean to a POSIX shell, and
// nothing else has a meaning: no shell reads the line.
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

// quoted reads from the quote at runes[i] and returns where its other end is.
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
	return 0, sekisho.Errorf(sekisho.CodeInvalid, "The command has a quote that is not closed.")
}
