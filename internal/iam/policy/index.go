package policy

import "strings"

// post is a statement filed under one of its resource patterns. Without a pattern, the whole
// Resource element must still be checked.
type post struct {
	st  *statement
	res *pattern
}

// bucket files the statements of one action pattern by resource.
type bucket struct {
	few      []post            // all of them, while there are few
	exact    map[string][]post // ARNs without wildcards
	prefixes radix[post]       // by literal text before the first wildcard
	suffixes radix[post]       // by literal text after the last wildcard
	rest     []post
}

// fewPosts is the number of posts up to which trying all beats a lookup.
const fewPosts = 4

func (b *bucket) file(p post) {
	if b.exact == nil {
		if len(b.few) < fewPosts {
			b.few = append(b.few, p)
			return
		}
		b.exact = map[string][]post{}
		for _, q := range b.few {
			b.file(q)
		}
		b.few = nil
	}
	if p.res == nil {
		b.rest = append(b.rest, p)
		return
	}
	prefix, suffix := p.res.fixed()
	switch {
	case p.res.kind == patNever:
	case p.res.kind == patExact:
		b.exact[p.res.lit] = append(b.exact[p.res.lit], p)
	case prefix == "" && suffix == "":
		b.rest = append(b.rest, p)
	case len(suffix) > len(prefix):
		b.suffixes.insert(suffix, p, true)
	default:
		b.prefixes.insert(prefix, p, false)
	}
}

// best returns the best grant of the statements for r's resource, stopping at
// limit.
func (b *bucket) best(r *Request, sc *scope, limit grant) grant {
	g := sc.bestOf(b.few, r, grantNone, limit)
	if b.exact == nil || g >= limit {
		return g
	}
	if g = sc.bestOf(b.exact[r.Resource], r, g, limit); g >= limit {
		return g
	}
	if g = sc.bestOf(b.rest, r, g, limit); g >= limit {
		return g
	}
	for n, rest := &b.prefixes, r.Resource; n != nil; n, rest = n.after(rest) {
		if g = sc.bestOf(n.items, r, g, limit); g >= limit {
			return g
		}
	}
	for n, rest := &b.suffixes, r.Resource; n != nil; n, rest = n.before(rest) {
		if g = sc.bestOf(n.items, r, g, limit); g >= limit {
			return g
		}
	}
	return g
}

// actionNode holds the statements of one action pattern with wildcards.
type actionNode struct {
	pattern actionPattern
	bucket
}

// index files statements by action. The zero value is an empty index.
type index struct {
	exact map[string]*bucket // action names
	wild  radix[*actionNode] // by literal text before the first wildcard
	globs map[string]*actionNode
}

// maxPosts bounds the index entries of one statement: the product of its actions and resources.
const maxPosts = 256

func (ix *index) add(sc *scope, st *statement) {
	if !sc.canMatch(st) {
		return
	}
	var posts []post
	if st.notRes || !st.hasRes || sc.ignoresResource(st) || len(st.actions)*len(st.resources) > maxPosts {
		posts = []post{{st: st}}
	} else {
		for i := range st.resources {
			posts = append(posts, post{st, &st.resources[i]})
		}
	}
	actions := st.actions
	if st.notAction {
		actions = []actionPattern{{glob: "*"}}
	}
	for _, a := range actions {
		if b := ix.bucketOf(a); b != nil {
			for _, p := range posts {
				b.file(p)
			}
		}
	}
}

func (ix *index) bucketOf(a actionPattern) *bucket {
	if a.never {
		return nil
	}
	if a.exact {
		b := ix.exact[a.glob]
		if b == nil {
			if ix.exact == nil {
				ix.exact = map[string]*bucket{}
			}
			b = new(bucket)
			ix.exact[a.glob] = b
		}
		return b
	}
	n := ix.globs[a.glob]
	if n == nil {
		if ix.globs == nil {
			ix.globs = map[string]*actionNode{}
		}
		n = &actionNode{pattern: a}
		ix.globs[a.glob] = n
		ix.wild.insert(a.literal(), n, false)
	}
	return &n.bucket
}

// best returns the best grant of the index's statements for r.
func (ix *index) best(r *Request, sc *scope, limit grant) grant {
	g := grantNone
	if ix.exact != nil {
		// Only a long action in mixed case allocates.
		var b *bucket
		var buf [128]byte
		if len(r.Action) <= len(buf) {
			for i := 0; i < len(r.Action); i++ {
				buf[i] = lower(r.Action[i])
			}
			b = ix.exact[string(buf[:len(r.Action)])]
		} else {
			b = ix.exact[lowerASCII(r.Action)]
		}
		if b != nil {
			if g = b.best(r, sc, limit); g >= limit {
				return g
			}
		}
	}
	if ix.globs != nil {
		for n, rest := &ix.wild, r.Action; n != nil; n, rest = n.afterFold(rest) {
			for _, a := range n.items {
				if a.pattern.matches(r.Action) {
					if g = max(g, a.best(r, sc, limit)); g >= limit {
						return g
					}
				}
			}
		}
	}
	return g
}

// radix is a tree of strings with common prefixes (or, built with fromEnd, common suffixes) merged.
// Walking it along a string visits the items of every stored prefix (or suffix) of that string.
type radix[T any] struct {
	label    string
	first    string // the children's first bytes (last bytes with fromEnd)
	children []*radix[T]
	items    []T
}

func (n *radix[T]) insert(text string, item T, fromEnd bool) {
	for text != "" {
		c := text[0]
		if fromEnd {
			c = text[len(text)-1]
		}
		i := strings.IndexByte(n.first, c)
		if i < 0 {
			n.first += string([]byte{c})
			n.children = append(n.children, &radix[T]{label: text, items: []T{item}})
			return
		}
		child := n.children[i]
		common := commonLen(child.label, text, fromEnd)
		if common < len(child.label) {
			child = child.split(common, fromEnd)
			n.children[i] = child
		}
		if fromEnd {
			text = text[:len(text)-common]
		} else {
			text = text[common:]
		}
		n = child
	}
	n.items = append(n.items, item)
}

// split returns a new node for the first common bytes of n's label, with n,
// shortened, below it.
func (n *radix[T]) split(common int, fromEnd bool) *radix[T] {
	keep, rest := n.label[:common], n.label[common:]
	c := rest[0:1]
	if fromEnd {
		cut := len(n.label) - common
		keep, rest = n.label[cut:], n.label[:cut]
		c = rest[len(rest)-1:]
	}
	n.label = rest
	return &radix[T]{label: keep, first: c, children: []*radix[T]{n}}
}

func commonLen(a, b string, fromEnd bool) int {
	n := min(len(a), len(b))
	for i := range n {
		if fromEnd && a[len(a)-1-i] != b[len(b)-1-i] || !fromEnd && a[i] != b[i] {
			return i
		}
	}
	return n
}

// after returns the child whose label text begins with, and the rest of text.
func (n *radix[T]) after(text string) (*radix[T], string) {
	if text == "" {
		return nil, ""
	}
	i := strings.IndexByte(n.first, text[0])
	if i < 0 || !strings.HasPrefix(text, n.children[i].label) {
		return nil, ""
	}
	return n.children[i], text[len(n.children[i].label):]
}

// before is after for trees built from the end.
func (n *radix[T]) before(text string) (*radix[T], string) {
	if text == "" {
		return nil, ""
	}
	i := strings.IndexByte(n.first, text[len(text)-1])
	if i < 0 || !strings.HasSuffix(text, n.children[i].label) {
		return nil, ""
	}
	return n.children[i], text[:len(text)-len(n.children[i].label)]
}

// afterFold is after for a tree of lower-case texts and a text in any case.
func (n *radix[T]) afterFold(text string) (*radix[T], string) {
	if text == "" {
		return nil, ""
	}
	i := strings.IndexByte(n.first, lower(text[0]))
	if i < 0 || !hasPrefixFold(text, n.children[i].label) {
		return nil, ""
	}
	return n.children[i], text[len(n.children[i].label):]
}
