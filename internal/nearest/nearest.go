// Package nearest finds the name that a misspelled word was meant to be.
package nearest

import "strings"

const (
	// maxWord bounds the words that are compared, in bytes.
	maxWord = 60
	// maxDistance is how many edits may separate a word and a name.
	maxDistance = 3
)

// Name returns the name most similar to word regardless of case, or "" if none
// is similar. A name that begins with word is similar.
func Name(word string, names []string) string {
	if len(word) > maxWord {
		return ""
	}
	word = strings.ToLower(word)
	best, least := "", maxDistance+1
	for _, name := range names {
		lower := strings.ToLower(name)
		d := distance(word, lower)
		if len(word) > 3 && strings.HasPrefix(lower, word) {
			d = 1
		}
		if d < least && d < len(name)/2+1 {
			best, least = name, d
		}
	}
	return best
}

// distance returns the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
