package interchange

import (
	"crypto/sha256"
	"fmt"
)

// groups are the folders or the collections of one file: objects with a unique
// id, a name and whatever else, in the file's order.
type groups struct {
	byID  map[string]map[string]any
	order []any
}

func newGroups() *groups { return &groups{byID: map[string]map[string]any{}, order: []any{}} }

// readGroups reads a file's list of them; null is an empty one.
func readGroups(v any) (*groups, *fault) {
	g := newGroups()
	elements, ok := v.([]any)
	if !ok && v != nil {
		return nil, wrong("is not a list")
	}
	for i, element := range elements {
		id, _, f := identify(element)
		if f != nil {
			return nil, f.in(index(i))
		}
		if _, ok := g.byID[id]; ok {
			return nil, wrong("is the id of an earlier one as well").in("id").in(index(i))
		}
		g.add(element)
	}
	return g, nil
}

// identify returns the id and the name of a folder or collection.
func identify(v any) (id, name string, f *fault) {
	group, ok := v.(map[string]any)
	if !ok {
		return "", "", wrong("is not an object")
	}
	if f := isText(group["id"]); f != nil {
		return "", "", f.in("id")
	}
	if f := isText(group["name"]); f != nil {
		return "", "", f.in("name")
	}
	id, name = group["id"].(string), group["name"].(string)
	if id == "" {
		return "", "", wrong("is empty").in("id")
	}
	return id, name, nil
}

// add takes in a folder or collection that identify accepts. Where two imports
// disagree about an id, the first one has it.
func (g *groups) add(v any) {
	group := v.(map[string]any)
	id := group["id"].(string)
	if _, ok := g.byID[id]; !ok {
		g.byID[id] = group
		g.order = append(g.order, group)
	}
}

// is reports whether the id is that of a group of this name.
func (g *groups) is(id, name string) bool {
	group, ok := g.byID[id]
	return ok && group["name"] == name
}

// folderID returns the id that a folder has which no import gave one: a UUID of
// version 8 (RFC 9562, section 5.8) that depends on the name alone, so that an
// export can be repeated. Attempts after 0 are for the case that it is taken.
func folderID(name string, attempt int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "zeropass/interchange/folder/%d/%s", attempt, name))
	id := sum[:16]
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// folder is a node for an item's folderId. The name is the field; the folder
// with its id stands in the rest as {"folder": object}, or as {"as": id} if the
// file had no such folder.
type folder struct {
	name *string
	in   *groups
}

func (n folder) read(v any) (any, *fault) {
	*n.name = ""
	if v == nil {
		return nil, nil
	}
	if f := isText(v); f != nil {
		return nil, f
	}
	group, ok := n.in.byID[v.(string)]
	if !ok {
		return map[string]any{"as": v}, nil
	}
	*n.name = group["name"].(string)
	if *n.name != "" && same(group, derivedFolder(*n.name, 0)) {
		return nil, nil
	}
	return map[string]any{"folder": group}, nil
}

func derivedFolder(name string, attempt int) map[string]any {
	return map[string]any{"id": folderID(name, attempt), "name": name}
}

func (n folder) write(rest any) (any, *fault) {
	parts, f := rests(rest)
	if f != nil {
		return nil, f
	}
	if group, ok := parts["folder"]; ok {
		id, name, f := identify(group)
		if f != nil {
			return nil, f
		}
		if name == *n.name && n.in.is(id, name) {
			return id, nil
		}
	}
	if *n.name == "" {
		as, ok := parts["as"].(string)
		if _, taken := n.in.byID[as]; ok && !taken {
			return as, nil
		}
		return nil, nil
	}
	if f := isText(*n.name); f != nil {
		return nil, f
	}
	for attempt := 0; ; attempt++ {
		group := derivedFolder(*n.name, attempt)
		n.in.add(group)
		if id := group["id"].(string); n.in.is(id, *n.name) {
			return id, nil
		}
	}
}

func (n folder) empty() bool { return *n.name == "" }

// collections is a node for an item's collectionIds, which no field holds. The
// collections that the file describes stand in the rest beside the ids:
// {"as": ids, "collections": [objects]}.
type collections struct{ in *groups }

var collectionIDs = kept{check: func(v any) *fault {
	ids, ok := v.([]any)
	if !ok {
		return wrong("is not a list")
	}
	for i, id := range ids {
		if f := isText(id); f != nil {
			return f.in(index(i))
		}
	}
	return nil
}}

func (n collections) read(v any) (any, *fault) {
	rest, f := collectionIDs.read(v)
	if f != nil || rest == nil {
		return nil, f
	}
	var described []any
	for _, id := range v.([]any) {
		if group, ok := n.in.byID[id.(string)]; ok {
			described = append(described, group)
		}
	}
	if len(described) > 0 {
		rest.(map[string]any)["collections"] = described
	}
	return rest, nil
}

func (n collections) write(rest any) (any, *fault) { return collectionIDs.write(rest) }

func (collections) empty() bool { return true }

// collect takes in the folder and the collections that an item's rest
// describes, before any item is written: ids of an import go before derived
// ones.
func collect(rest map[string]any, folders, described *groups) *fault {
	members, f := rests(rest["members"])
	if f != nil {
		return f
	}
	parts, f := rests(members["folderId"])
	if f != nil {
		return f
	}
	if group, ok := parts["folder"]; ok {
		if _, _, f := identify(group); f != nil {
			return f
		}
		folders.add(group)
	}
	parts, f = rests(members["collectionIds"])
	if f != nil {
		return f
	}
	list, _ := parts["collections"].([]any)
	for _, group := range list {
		if _, _, f := identify(group); f != nil {
			return f
		}
		described.add(group)
	}
	return nil
}
