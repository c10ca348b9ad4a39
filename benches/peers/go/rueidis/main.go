// net/http with rueidis, as their documentation writes it.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"

	"github.com/redis/rueidis"
)

type answer struct {
	Current float64 `json:"current"`
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: rueidis LISTEN REDIS")
	}
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{os.Args[2]}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		command := client.B().Hget().Key("currency").Field("current-value").Build()
		value, err := client.Do(r.Context(), command).AsFloat64()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		body, err := json.Marshal(answer{value})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Write(body)
	})
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
