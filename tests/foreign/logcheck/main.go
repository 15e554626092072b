// Checks a log with Go's own packages for transparency logs: golang.org/x/mod/sumdb/note and .../tlog.
//
//	logcheck URL VERIFIER-KEY [OLD-CHECKPOINT-FILE]
//
// It proves every entry included in the newest checkpoint, and an older checkpoint its beginning.
package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type reader struct {
	url  string
	seen map[string][]byte
}

func (reader) Height() int { return 8 }

func (reader) SaveTiles([]tlog.Tile, [][]byte) {}

// C2SP tlog-tiles names tiles as this package does, without the height.
func (r reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		path := "/tile/" + strings.TrimPrefix(tile.Path(), "tile/8/")
		data, known := r.seen[path]
		if !known {
			var err error
			if data, err = get(r.url + path); err != nil {
				return nil, err
			}
			r.seen[path] = data
		}
		all = append(all, data)
	}
	return all, nil
}

func main() {
	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check() error {
	url := os.Args[1]
	raw, err := get(url + "/checkpoint")
	if err != nil {
		return err
	}
	tree, err := open(raw)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(tree, reader{url, map[string][]byte{}})
	for n := int64(0); n < tree.N; n++ {
		leaf, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, n)})
		if err != nil {
			return err
		}
		proof, err := tlog.ProveRecord(tree.N, n, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, n, leaf[0]); err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
	}
	fmt.Println("included:", tree.N)
	if len(os.Args) > 3 {
		return consistent(tree, hashes)
	}
	return nil
}

func consistent(tree tlog.Tree, hashes tlog.HashReader) error {
	raw, err := os.ReadFile(os.Args[3])
	if err != nil {
		return err
	}
	old, err := open(raw)
	if err != nil {
		return err
	}
	proof, err := tlog.ProveTree(tree.N, old.N, hashes)
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		return err
	}
	fmt.Println("consistent:", old.N, tree.N)
	return nil
}

func open(raw []byte) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(os.Args[2])
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(raw, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("no checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil {
		return tlog.Tree{}, err
	}
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], root)
	return tree, nil
}

func get(url string) ([]byte, error) {
	answer, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, answer.Status)
	}
	return io.ReadAll(answer.Body)
}
