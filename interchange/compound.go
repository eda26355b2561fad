package interchange

// object is a node for an object whose members have nodes.
type object []member

type member struct {
	name     string
	node     node
	required bool
}

func (o object) read(v any) (any, *fault) {
	if v == nil {
		for _, m := range o {
			if m.required {
				return nil, wrong("is null")
			}
		}
		return map[string]any{"as": nil}, nil
	}
	members, ok := v.(map[string]any)
	if !ok {
		return nil, wrong("is not an object")
	}
	var absent []any
	inner, more := map[string]any{}, map[string]any{}
	for name, v := range members {
		more[name] = v
	}
	for _, m := range o {
		v, ok := members[m.name]
		if !ok && m.required {
			return nil, wrong("is missing").in(m.name)
		}
		if !ok {
			absent = append(absent, m.name)
			continue
		}
		delete(more, m.name)
		rest, f := m.node.read(v)
		if f != nil {
			return nil, f.in(m.name)
		}
		if rest != nil {
			inner[m.name] = rest
		}
	}
	return objectRest(absent, inner, more), nil
}

func objectRest(absent []any, inner, more map[string]any) any {
	parts := map[string]any{}
	if len(absent) > 0 {
		parts["absent"] = absent
	}
	if len(inner) > 0 {
		parts["members"] = inner
	}
	if len(more) > 0 {
		parts["more"] = more
	}
	if len(parts) == 0 {
		return nil
	}
	return parts
}

func (o object) write(rest any) (any, *fault) {
	parts, f := rests(rest)
	if f != nil {
		return nil, f
	}
	if _, ok := parts["as"]; ok && o.empty() {
		return nil, nil
	}
	inner, f := rests(parts["members"])
	if f != nil {
		return nil, f
	}
	more, f := rests(parts["more"])
	if f != nil {
		return nil, f
	}
	absent := map[any]bool{}
	list, _ := parts["absent"].([]any)
	for _, name := range list {
		if name, ok := name.(string); ok {
			absent[name] = true
		}
	}
	members := map[string]any{}
	for name, v := range more {
		members[name] = v
	}
	for _, m := range o {
		if absent[m.name] && !m.required && m.node.empty() {
			continue
		}
		v, f := m.node.write(inner[m.name])
		if f != nil {
			return nil, f.in(m.name)
		}
		members[m.name] = v
	}
	return members, nil
}

func (o object) empty() bool {
	for _, m := range o {
		if m.required || !m.node.empty() {
			return false
		}
	}
	return true
}

// list is a node for an array of objects.
type list struct {
	usual  any // how Bitwarden spells an empty one: null or []
	length func() int
	grow   func()           // appends an empty element
	at     func(i int) node // of one element
}

func (l list) read(v any) (any, *fault) {
	elements, ok := v.([]any)
	if !ok && v != nil {
		return nil, wrong("is not a list")
	}
	if len(elements) == 0 {
		if same(v, l.usual) {
			return nil, nil
		}
		return map[string]any{"as": v}, nil
	}
	all, some := make([]any, len(elements)), false
	for i, v := range elements {
		if v == nil {
			return nil, wrong("is not an object").in(index(i))
		}
		l.grow()
		rest, f := l.at(i).read(v)
		if f != nil {
			return nil, f.in(index(i))
		}
		all[i], some = rest, some || rest != nil
	}
	if !some {
		return nil, nil
	}
	return map[string]any{"elements": all}, nil
}

func (l list) write(rest any) (any, *fault) {
	parts, f := rests(rest)
	if f != nil {
		return nil, f
	}
	if l.empty() {
		as, ok := parts["as"]
		if ok && (as == nil || same(as, []any{})) {
			return as, nil
		}
		return l.usual, nil
	}
	all, _ := parts["elements"].([]any)
	elements := make([]any, l.length())
	for i := range elements {
		var rest any
		// Another length means that elements came or went: which rest is
		// whose is not known then.
		if len(all) == len(elements) {
			rest = all[i]
		}
		v, f := l.at(i).write(rest)
		if f != nil {
			return nil, f.in(index(i))
		}
		elements[i] = v
	}
	return elements, nil
}

func (l list) empty() bool { return l.length() == 0 }

// owner is a node that keeps its rest itself, as a JSON text.
type owner struct {
	node
	rest *string
}

func (o owner) read(v any) (any, *fault) {
	rest, f := o.node.read(v)
	if f != nil {
		return nil, f
	}
	*o.rest = ""
	if rest != nil {
		*o.rest = compact(rest)
	}
	return nil, nil
}

func (o owner) write(any) (any, *fault) {
	rest, f := parseRest(*o.rest)
	if f != nil {
		return nil, f
	}
	return o.node.write(rest)
}

func parseRest(text string) (map[string]any, *fault) {
	if text == "" {
		return nil, nil
	}
	rest, err := parse([]byte(text), depthRest)
	if err != nil {
		return nil, wrong("has a rest that this program did not write")
	}
	return rests(rest)
}
