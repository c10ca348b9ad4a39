// net/http with go-redis, as their documentation writes it.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"

	"github.com/redis/go-redis/v9"
)

type answer struct {
	Current float64 `json:"current"`
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: go-redis LISTEN REDIS")
	}
	client := redis.NewClient(&redis.Options{Addr: os.Args[2]})
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		value, err := client.HGet(r.Context(), "currency", "current-value").Float64()
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
